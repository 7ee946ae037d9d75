"""One convolution or pooling layer, written as text: `conv 3x3 32->64 14x14 batch=64`."""

import dataclasses
import math
import re
from typing import Self

import numpy as np

OPERATIONS = ("conv", "max_pool", "avg_pool")
CONV_PASSES = ("forward", "input gradient", "kernel gradient")
POOL_PASSES = ("forward", "forward and gradient")

_NUMBERS = ("batch", "stride", "padding", "dilation", "groups")
_SYNTAX = "'conv 3x3 32->64 14x14 batch=8 stride=1 padding=1 dilation=1 groups=1'"

Shape = tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Layer:
    """Sizes of a layer; strides, paddings and dilations are the same in every dimension."""

    operation: str
    window: Shape
    inputs: int
    outputs: int
    spatial: Shape
    batch: int = 8
    stride: int = 1
    padding: int = 0
    dilation: int = 1
    groups: int = 1

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a layer from text.

        `padding` is half the dilated window by default, for pooling 0; `stride` is 1, for pooling
        the window. A pooling layer has one number of channels: `max_pool 2x2 32 28x28`.

        Raises:
            ValueError: the text is none of that, or the sizes fit no layer.

        >>> Layer.parse("conv 3x3 32->64 14x14 batch=64").output
        (64, 14, 14, 64)
        """
        operation, *words = text.split() or [""]
        numbers = {}
        for word in [word for word in words if "=" in word]:
            name, _, value = word.partition("=")
            if name not in _NUMBERS or not value.isdecimal():
                raise ValueError(f"layer {text!r}: {word!r} is not understood; write {_SYNTAX}")
            numbers[name] = int(value)
        words = [word for word in words if "=" not in word]
        match = re.fullmatch(r"([\dx]+) (\d+)(?:->(\d+))? ([\dx]+)", " ".join(words))
        if operation not in OPERATIONS or match is None:
            raise ValueError(f"layer {text!r} is not understood; write {_SYNTAX}")
        window, spatial = (tuple(map(int, match[i].strip("x").split("x"))) for i in (1, 4))
        if operation != "conv":
            numbers.setdefault("stride", max(1, window[0]))
        elif "padding" not in numbers:
            numbers["padding"] = numbers.get("dilation", 1) * (window[0] - 1) // 2
        inputs = int(match[2])
        layer = cls(operation, window, inputs, int(match[3] or inputs), spatial, **numbers)
        layer.check(text)
        return layer

    def check(self, text: str) -> None:
        """Raise `ValueError` where the sizes fit no layer."""
        if len(self.window) != len(self.spatial) or len(self.window) not in (1, 2, 3):
            raise ValueError(f"layer {text!r}: window and picture need the same 1 to 3 dimensions")
        sizes = (*self.window, *self.spatial, self.inputs, self.outputs, self.batch)
        if min(*sizes, self.stride, self.dilation, self.groups) < 1:
            raise ValueError(f"layer {text!r}: sizes must be positive")
        if self.inputs % self.groups or self.outputs % self.groups:
            raise ValueError(f"layer {text!r}: {self.groups} groups do not divide the channels")
        if self.operation != "conv" and (
            self.inputs != self.outputs or self.groups != 1 or self.dilation != 1
        ):
            raise ValueError(f"layer {text!r}: pooling keeps the channels, without dilation")
        if self.operation != "conv" and 2 * self.padding > min(self.window):
            raise ValueError(f"layer {text!r}: pooling takes padding up to half the window")
        if min(self.output[1:-1]) < 1:
            raise ValueError(f"layer {text!r}: the window is larger than the padded picture")

    @property
    def text(self) -> str:
        """The layer as `parse` reads it, without what is usual."""
        dilated = self.dilation * (self.window[0] - 1)
        pooling = self.operation != "conv"
        usual = {
            "stride": self.window[0] if pooling else 1,
            "padding": 0 if pooling else dilated // 2,
            "dilation": 1,
            "groups": 1,
        }
        channels = str(self.inputs) if pooling else f"{self.inputs}->{self.outputs}"
        words = [self.operation, _product(self.window), channels, _product(self.spatial)]
        words.append(f"batch={self.batch}")
        words += [f"{n}={getattr(self, n)}" for n in usual if getattr(self, n) != usual[n]]
        return " ".join(words)

    @property
    def rank(self) -> int:
        """The number of spatial dimensions."""
        return len(self.spatial)

    @property
    def input(self) -> Shape:
        """`[batch, *spatial, channels]` of what comes in."""
        return (self.batch, *self.spatial, self.inputs)

    @property
    def kernel(self) -> Shape:
        """`[*window, inputs / groups, outputs]`."""
        return (*self.window, self.inputs // self.groups, self.outputs)

    @property
    def output(self) -> Shape:
        """`[batch, *spatial, channels]` of what goes out."""
        after = [
            (n + 2 * self.padding - self.dilation * (k - 1) - 1) // self.stride + 1
            for n, k in zip(self.spatial, self.window, strict=True)
        ]
        return (self.batch, *after, self.outputs)

    @property
    def passes(self) -> tuple[str, ...]:
        """What can be timed."""
        return CONV_PASSES if self.operation == "conv" else POOL_PASSES

    def flops(self, which: str) -> int:
        """Multiplications and additions of a pass, those with padding counted too."""
        positions = math.prod(self.output)
        if self.operation == "conv":
            return 2 * positions * math.prod(self.kernel[:-1])
        taps = positions * math.prod(self.window)
        return taps if which == "forward" else 2 * taps

    def bytes(self, which: str, itemsize: int) -> int:
        """The least that a pass must read and write: each array once."""
        x, y = math.prod(self.input), math.prod(self.output)
        kernel = math.prod(self.kernel) if self.operation == "conv" else 0
        if which == "forward and gradient":
            return 2 * (x + y) * itemsize
        return (x + y + kernel) * itemsize


def _product(sizes: Shape) -> str:
    text = "x".join(map(str, sizes))
    return text if "x" in text else f"{text}x"  # A lone number could be taken for channels.


TABLE = (
    "conv 5x5 1->6 28x28 batch=64 padding=0",
    "conv 3x3 3->64 32x32 batch=64",
    "conv 3x3 32->64 14x14 batch=64",
    "conv 3x3 64->64 56x56 batch=8",
    "conv 3x3 128->256 8x8 batch=64",
    "conv 3x3 256->256 14x14 batch=8",
    "conv 7x7 3->64 224x224 batch=2 stride=2",
    "conv 3x3 128->128 56x56 batch=8 stride=2",
    "conv 3x3 64->64 56x56 batch=8 dilation=2",
    "conv 1x1 256->64 56x56 batch=8",
    "conv 1x1 64->256 56x56 batch=8",
    "conv 3x3 128->128 56x56 batch=8 groups=128",
    "conv 3x3 128->128 28x28 batch=8 groups=4",
    "conv 5x 32->64 1024x batch=16",
    "conv 3x3x3 16->32 32x32x32 batch=2",
    "max_pool 2x2 32 28x28 batch=64",
    "max_pool 3x3 64 56x56 batch=8 stride=2 padding=1",
    "avg_pool 2x2 64 56x56 batch=8",
)
QUICK_TABLE = (TABLE[0], TABLE[2], TABLE[9], TABLE[11], TABLE[15])


def draw(count: int, seed: int = 0) -> list[Layer]:
    """Draw layers of all kinds whose forward pass takes up to 1 GFLOP and 32 MB."""
    random = np.random.default_rng(seed)
    layers: dict[str, Layer] = {}
    while len(layers) < count:
        layer = _draw_one(random)
        try:
            layer.check(layer.text)
        except ValueError:
            continue
        small = layer.flops("forward") <= 1e9 and layer.bytes("forward", 4) <= 32e6
        if small and layer.flops("forward") >= 1e4:
            layers[layer.text] = layer
    return list(layers.values())


def _draw_one(random: np.random.Generator) -> Layer:
    rank = int(random.choice([1, 2, 2, 2, 2, 3]))
    operation = str(random.choice(["conv"] * 6 + ["max_pool", "avg_pool"]))
    sizes = {1: (16, 2048), 2: (4, 128), 3: (4, 32)}[rank]
    spatial = tuple(int(2 ** random.uniform(*np.log2(sizes))) for _ in range(rank))
    window = (int(random.choice([1, 2, 3, 3, 3, 5, 7])),) * rank
    channels = (1, 3, 4, 8, 16, 17, 24, 32, 48, 64, 96, 128, 256, 512)
    inputs, outputs = (int(random.choice(channels)) for _ in range(2))
    stride = int(random.choice([1, 1, 1, 2, 3]))
    batch = int(2 ** random.integers(0, 7))
    if operation != "conv":
        return Layer(operation, window, inputs, inputs, spatial, batch, stride)
    groups = int(random.choice([1, 1, 1, 1, 2, 4, inputs]))
    if groups == inputs and groups > 1:
        outputs = inputs
    dilation = int(random.choice([1, 1, 1, 1, 2]))
    padding = int(random.choice([0, dilation * (window[0] - 1) // 2]))
    sizes = (batch, stride, padding, dilation, groups)
    return Layer(operation, window, inputs, outputs, spatial, *sizes)


Arrays = dict[str, np.ndarray]


def arrays(layer: Layer, seed: int = 0) -> Arrays:
    """Draw `x`, `kernel` and the output's cotangent `dy`, in float32."""
    random = np.random.default_rng(seed)
    made = {
        "x": random.standard_normal(layer.input, np.float32),
        "dy": random.standard_normal(layer.output, np.float32),
    }
    if layer.operation == "conv":
        scale = np.float32(1 / math.sqrt(math.prod(layer.kernel[:-1])))
        made["kernel"] = scale * random.standard_normal(layer.kernel, np.float32)
    return made
