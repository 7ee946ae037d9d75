"""Data sets by name, fetched before they are opened, with a bar that says how far it is."""

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TaskID,
    TextColumn,
    TransferSpeedColumn,
)

from cnn_jax import data as datasets


def fetch_named(data: str, *, quiet: bool = False) -> None:
    """Fetch a data set that goes by its name, unless it is there; paths are left alone.

    The bar stands on standard error, and only while something comes.

    Raises `OSError` and `ValueError` as `cnn_jax.data.download` does.
    """
    if data in datasets.downloadable():
        with _bar(data, Console(stderr=True, quiet=quiet)) as bar:
            datasets.download(data, progress=bar)


class _Bar:
    """A bar in the manner of tqdm, as pooch wants one, shown by rich; a line for each file."""

    def __init__(self, progress: Progress, name: str) -> None:
        self.total = 0
        self._progress, self._name = progress, name
        self._task: TaskID | None = None

    def update(self, size: int) -> None:
        if self._task is None:
            self._progress.start()
            self._task = self._progress.add_task(f"fetching {self._name}", total=self.total or None)
        self._progress.update(self._task, advance=size)

    def reset(self) -> None:
        if self._task is not None:
            self._progress.update(self._task, completed=0)

    def close(self) -> None:
        self._task = None


@contextmanager
def _bar(name: str, console: Console) -> Iterator[_Bar]:
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn())
    progress = Progress(*columns, TransferSpeedColumn(), console=console)
    try:
        yield _Bar(progress, name)
    finally:
        if progress.tasks:  # it was started: stopping prints a line
            progress.stop()
