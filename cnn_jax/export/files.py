"""Paths that may be written to."""

from pathlib import Path


def check_free(path: Path, *, overwrite: bool) -> None:
    """Raise where `path` can't be written, or must not be because something is there.

    >>> check_free(Path("/dev/null"), overwrite=True)
    Traceback (most recent call last):
    FileExistsError: /dev/null: there, but not a file that could be replaced
    """
    if path.exists() and not path.is_file():
        raise FileExistsError(f"{path}: there, but not a file that could be replaced")
    if path.exists() and not overwrite:
        raise FileExistsError(
            f"{path}: there already; choose another name, or replace it (--overwrite, in Python "
            "overwrite=True)"
        )
    if not path.parent.is_dir():
        raise FileNotFoundError(f"{path}: there is no folder {path.parent}")
