"""Single layers and the machine's rates in PyTorch, in the faster memory format of each."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch  # pyright: ignore[reportMissingImports]

from benchmarks.job import Job
from benchmarks.layer import Layer, arrays
from benchmarks.networks.channels_first import first, kernel_in_out, kernel_out_in, last
from benchmarks.steps_in_torch import fastest, memory_formats, use_threads

_functional: Any = torch.nn.functional
_CONVOLUTIONS = {1: _functional.conv1d, 2: _functional.conv2d, 3: _functional.conv3d}
_MAX_POOLS = {1: _functional.max_pool1d, 2: _functional.max_pool2d, 3: _functional.max_pool3d}
_AVG_POOLS = {1: _functional.avg_pool1d, 2: _functional.avg_pool2d, 3: _functional.avg_pool3d}


def prepare(case: Mapping[str, Any]) -> Job:
    """Prepare one pass of one layer."""
    layer = Layer.parse(case["layer"])
    use_threads()
    dtype = {"float32": torch.float32, "bfloat16": torch.bfloat16}[case["dtype"]]
    given = {
        name: torch.from_numpy(kernel_out_in(array) if name == "kernel" else first(array))
        for name, array in arrays(layer).items()
    }
    make = _conv if layer.operation == "conv" else _pool
    runs: dict[str, Callable[[], Any]] = {}
    for name, chosen in memory_formats(layer.rank).items():
        own = {n: t.to(dtype).contiguous(memory_format=chosen) for n, t in given.items()}
        runs[name] = make(layer, case["pass"], own)
    for run in runs.values():
        run()
    name = fastest(runs)
    result = runs[name]()
    tensors = result if isinstance(result, tuple) else (result,)
    back = kernel_in_out if case["pass"] == "kernel gradient" else last
    results = {
        f"result_{i}": back(tensor.detach().float().contiguous().numpy())
        for i, tensor in enumerate(tensors)
    }
    return Job(runs[name], results, {"memory_format": name})


def _conv(layer: Layer, which: str, given: Mapping[str, torch.Tensor]) -> Callable[[], Any]:
    x, kernel, dy = given["x"], given["kernel"], given["dy"]
    rank = layer.rank
    sizes = [[n] * rank for n in (layer.stride, layer.padding, layer.dilation)]

    def forward() -> torch.Tensor:
        with torch.inference_mode():
            return _CONVOLUTIONS[rank](x, kernel, None, *sizes, layer.groups)

    def backward(index: int) -> torch.Tensor:
        mask = [index == 0, index == 1, False]
        with torch.inference_mode():
            return torch.ops.aten.convolution_backward(
                dy, x, kernel, None, *sizes, False, [0] * rank, layer.groups, mask
            )[index]

    match which:
        case "forward":
            return forward
        case "input gradient":
            return lambda: backward(0)
        case "kernel gradient":
            return lambda: backward(1)
        case unknown:
            raise ValueError(f"a convolution has no pass {unknown!r}")


def _pool(layer: Layer, which: str, given: Mapping[str, torch.Tensor]) -> Callable[[], Any]:
    pools = {"max_pool": _MAX_POOLS, "avg_pool": _AVG_POOLS}[layer.operation]
    sizes = (layer.window, layer.stride, layer.padding)
    x, dy = given["x"], given["dy"]

    def forward() -> torch.Tensor:
        with torch.inference_mode():
            return pools[layer.rank](x, *sizes)

    def both() -> tuple[torch.Tensor, torch.Tensor]:
        variable = x.detach().requires_grad_()
        y = pools[layer.rank](variable, *sizes)
        return y.detach(), torch.autograd.grad(y, variable, dy)[0]

    match which:
        case "forward":
            return forward
        case "forward and gradient":
            return both
        case unknown:
            raise ValueError(f"a pooling layer has no pass {unknown!r}")


def prepare_product(case: Mapping[str, Any]) -> Job:
    """Prepare a product of two square matrices, for the machine's rate."""
    use_threads()
    random = np.random.default_rng(0)
    shape = (case["size"], case["size"])
    dtype = {"float32": torch.float32, "bfloat16": torch.bfloat16}[case["dtype"]]
    a, b = (torch.from_numpy(random.standard_normal(shape, np.float32)).to(dtype) for _ in "ab")
    out = torch.empty(shape, dtype=dtype)

    def run() -> None:
        torch.matmul(a, b, out=out)

    run()
    return Job(run, {"corner": out[:8, :8].float().numpy()})


def prepare_triad(case: Mapping[str, Any]) -> Job:
    """Prepare `a + s b` in place of `a`, for the rate of memory: two arrays read, one written."""
    use_threads()
    a, b = torch.zeros(case["size"]), torch.ones(case["size"])
    a.add_(b, alpha=1e-3)
    corner = a[:8].numpy().copy()
    return Job(lambda: a.add_(b, alpha=1e-3), {"corner": corner})
