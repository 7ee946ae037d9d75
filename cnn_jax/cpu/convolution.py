"""A convolution as XLA sees it, with its axes named: what the choice of a kernel rests on."""

import dataclasses
import enum
import math


class Kind(enum.Enum):
    """What a convolution is for, as far as its shape and layout tell."""

    FORWARD = "forward"
    INPUT_GRADIENT = "input gradient"
    KERNEL_GRADIENT = "kernel gradient"


@dataclasses.dataclass(frozen=True)
class Axes:
    """Where an array's logical axes lie: its two feature axes, then its spatial ones.

    `first` is the batch (of a kernel: the output channels), `second` the channels (of a kernel: the
    input channels).
    """

    first: int
    second: int
    spatial: tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Convolution:
    """The operation of `lax.conv_general_dilated`, in one canonical form.

    `lhs_shape`, `rhs_shape` and `out_shape` are the arrays' own shapes; the axes say which of
    their dimensions is which. All else is in the order of the spatial axes.
    """

    dtype: str
    lhs_shape: tuple[int, ...]
    rhs_shape: tuple[int, ...]
    out_shape: tuple[int, ...]
    lhs_axes: Axes
    rhs_axes: Axes
    out_axes: Axes
    stride: tuple[int, ...]
    padding: tuple[tuple[int, int], ...]
    lhs_dilation: tuple[int, ...]
    rhs_dilation: tuple[int, ...]
    feature_groups: int
    batch_groups: int

    @property
    def rank(self) -> int:
        """The number of spatial dimensions."""
        return len(self.stride)

    @property
    def input(self) -> tuple[int, ...]:
        """The spatial sizes of the left operand."""
        return tuple(self.lhs_shape[axis] for axis in self.lhs_axes.spatial)

    @property
    def window(self) -> tuple[int, ...]:
        """The spatial sizes of the right operand."""
        return tuple(self.rhs_shape[axis] for axis in self.rhs_axes.spatial)

    @property
    def slid(self) -> tuple[int, ...]:
        """The spatial sizes of the window that slides: of a kernel gradient, its result's."""
        return self.output if self.kind is Kind.KERNEL_GRADIENT else self.window

    @property
    def output(self) -> tuple[int, ...]:
        """The spatial sizes of the result."""
        return tuple(self.out_shape[axis] for axis in self.out_axes.spatial)

    @property
    def batch(self) -> int:
        """The size of the left operand's batch axis."""
        return self.lhs_shape[self.lhs_axes.first]

    @property
    def in_channels(self) -> int:
        """The size of the left operand's channel axis."""
        return self.lhs_shape[self.lhs_axes.second]

    @property
    def out_channels(self) -> int:
        """The size of the result's channel axis."""
        return self.out_shape[self.out_axes.second]

    @property
    def in_group(self) -> tuple[int, int]:
        """The channels of a group, that are given and that are made."""
        return self.in_channels // self.feature_groups, self.out_channels // self.feature_groups

    @property
    def empty(self) -> bool:
        """Whether any of the arrays has no elements."""
        return 0 in self.lhs_shape or 0 in self.rhs_shape or 0 in self.out_shape

    @property
    def flops(self) -> int:
        """Twice the multiply-adds, those that meet padding or dilation's zeros left out.

        The count is that of the gradient's own forward convolution, so that a layer's three
        convolutions count alike.
        """
        per_output = math.prod(self.window) * (self.in_channels // self.feature_groups)
        # A dilated input is mostly zeros: only every n-th tap of the window meets a value.
        skipped = math.prod(self.lhs_dilation)
        return 2 * math.prod(self.out_shape) * per_output // skipped

    @property
    def kind(self) -> Kind:
        """Forward, input gradient or kernel gradient.

        The three are one operation, and any program may write any of them. JAX's differentiation
        keeps arrays where they lie and renames their axes, so the axes tell: a kernel gradient
        sums over the leading axis of its left operand, an input gradient's kernel has its two
        feature axes exchanged.
        """
        if self.batch_groups > 1:
            return Kind.KERNEL_GRADIENT
        if self.feature_groups == 1 and self.lhs_axes.second == 0 and self.lhs_axes.first > 0:
            return Kind.KERNEL_GRADIENT
        if any(step > 1 for step in self.lhs_dilation):
            return Kind.INPUT_GRADIENT
        if self._kernel_is_exchanged and all(step == 1 for step in self.stride):
            return Kind.INPUT_GRADIENT
        return Kind.FORWARD

    @property
    def _kernel_is_exchanged(self) -> bool:
        window_first = self.rank > 0 and self.rhs_axes.spatial[0] == 0
        return (self.rhs_axes.first < self.rhs_axes.second) == window_first


def describe(lhs, rhs, out, params) -> Convolution:
    """The convolution of a `conv_general_dilated` equation, from its abstract values."""
    lhs_axes, rhs_axes, out_axes = (
        Axes(spec[0], spec[1], tuple(spec[2:])) for spec in params["dimension_numbers"]
    )
    return Convolution(
        dtype=lhs.dtype.name,
        lhs_shape=tuple(lhs.shape),
        rhs_shape=tuple(rhs.shape),
        out_shape=tuple(out.shape),
        lhs_axes=lhs_axes,
        rhs_axes=rhs_axes,
        out_axes=out_axes,
        stride=tuple(params["window_strides"]),
        padding=tuple((low, high) for low, high in params["padding"]),
        lhs_dilation=tuple(params["lhs_dilation"]),
        rhs_dilation=tuple(params["rhs_dilation"]),
        feature_groups=params["feature_group_count"],
        batch_groups=params["batch_group_count"],
    )
