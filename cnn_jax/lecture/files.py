"""Figures on disk: written whole or not at all."""

import tempfile
from pathlib import Path

from matplotlib.figure import Figure

from cnn_jax.files import replacing


def writable_folder(folder: str | Path) -> Path:
    """Makes `folder` if need be and makes sure that files can be written there.

    Raises:
      OSError: it can't be made or written to.
    """
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # Permission bits alone don't tell: root ignores them, and file systems have their own say.
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise _cannot_write(folder, error) from error
    return folder


def write_figure(figure: Figure, path: Path, dpi: int = 150) -> None:
    """Writes a figure as a PNG file; where that fails, nothing half-written is left behind.

    Raises:
      OSError: the file can't be written.
    """
    try:
        with replacing(path) as hidden:
            figure.savefig(hidden, format="png", dpi=dpi)
    except OSError as error:
        raise _cannot_write(path, error) from error


def _cannot_write(path: Path, error: OSError) -> OSError:
    return OSError(f"lecture: cannot write figures to {path}: {error.strerror or error}")
