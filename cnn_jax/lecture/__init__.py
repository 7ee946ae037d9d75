"""The lecture's worked examples, computed by the library and shown as on a board.

Each part is a module of its own with three functions: `compute()` returns the part's numbers,
`board(result)` writes them out and `figures(result)` draws them.
"""

import importlib
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol, cast

from rich.console import Console

PARTS: Mapping[str, str] = MappingProxyType(
    {
        "pictures": "Pictures as data",
        "correlation-1d": "Correlation in one dimension",
        "correlation-2d": "Correlation in two dimensions",
        "channels": "Tensors, filter banks and channels",
        "pooling": "Max-pooling",
        "architecture": "The typical architecture, and the familiar pattern",
        "backpropagation": "Backpropagation: by hand, by jax.grad, and put to use",
        "why-convolution": "Why convolution suits pictures",
    }
)


class Part(Protocol):
    """What every part's module offers."""

    def compute(self) -> Any:
        """The part's numbers, as a named tuple."""
        ...

    def board(self, result: Any) -> str:
        """What a lecturer would write on the board."""
        ...

    def figures(self, result: Any) -> Mapping[str, Any]:
        """What a lecturer would show: matplotlib figures by name."""
        ...


def part(name: str) -> Part:
    """The module of one part of `PARTS`.

    Raises:
      ValueError: there is no part of that name.

    >>> result = part("pooling").compute()
    >>> result.stride_3.tolist()
    [[0.0, 1.0], [1.0, 0.0]]
    """
    if name not in PARTS:
        raise ValueError(f"lecture: there is no part {name!r}; the parts are {', '.join(PARTS)}")
    return cast(Part, importlib.import_module(f"{__name__}.{name.replace('-', '_')}"))


def run(
    names: Iterable[str] = (),
    out: str | Path | None = None,
    console: Console | None = None,
) -> dict[str, Any]:
    """Works through parts of the lecture (all of them where `names` is empty) on `console`.

    With `out`, the figures are written to that folder, which is made if need be, as PNG files whose
    names begin with the part's number in the lecture. The results come back by part.

    Raises:
      ValueError: a part is unknown (before anything runs).
      OSError: `out` is not a folder that can be written to (before anything runs).

    >>> results = run(["correlation-1d"], console=Console(quiet=True))
    >>> results["correlation-1d"].weights_convolutional
    4
    """
    # Imported here, so that asking for the list of parts does not wait for JAX.
    from cnn_jax.lecture import files

    chosen = list(dict.fromkeys(names)) or list(PARTS)
    parts = {name: part(name) for name in chosen}
    console = Console() if console is None else console
    folder = None if out is None else files.writable_folder(out)
    results = {}
    for name, module in parts.items():
        number = list(PARTS).index(name) + 1
        start = time.perf_counter()
        results[name] = module.compute()
        _print(console, f"{number}. {PARTS[name]}", module.board(results[name]))
        if folder is not None:
            for figure_name, figure in module.figures(results[name]).items():
                path = folder / f"{number}-{figure_name}.png"
                files.write_figure(figure, path)
                console.out(f"figure: {path}", highlight=False)
        seconds = time.perf_counter() - start
        console.out(f"({name}: {seconds:.1f} s)\n", style="dim", highlight=False)
    return results


def _print(console: Console, title: str, text: str) -> None:
    from cnn_jax.lecture.board import plain

    if console.options.ascii_only:
        text = plain(text)
    console.out(f"{title}\n{'=' * len(title)}\n", style="bold", highlight=False)
    console.out(text + "\n", highlight=False)
