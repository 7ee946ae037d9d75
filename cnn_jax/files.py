"""Writing files that are whole or not there at all."""

import errno
import json
import os
import shutil
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a hidden path beside `path`; what was made there takes the place of `path` at the end.

    Where the block raises, what it made is removed and `path` stays as it was. A folder may take
    the place of a folder. What was made is on the disk before it takes its place, so that a loss
    of power leaves the old or the new.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp(), "note.txt")
    >>> with replacing(path) as hidden:
    ...     _ = hidden.write_text("whole")
    ...     path.exists()
    False
    >>> path.read_text()
    'whole'
    """
    hidden = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
    try:
        yield hidden
        _put_on_disk(hidden)
        _replace(hidden, path)
        _sync(path.parent)
    except BaseException as error:
        remove(hidden)
        if isinstance(error, OSError) and error.errno is not None:
            # People know the path that they gave, not the hidden one.
            name = str(path) if error.filename is None else str(error.filename)
            error.filename = name.replace(str(hidden), str(path))
        raise


def _put_on_disk(path: Path) -> None:
    if path.is_dir():
        for inside in path.iterdir():
            _put_on_disk(inside)
    _sync(path)


def _sync(path: Path) -> None:
    """Wait until the system has written a file, or the names in a folder, to the disk."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:
        return  # a folder, where the system opens none
    try:
        os.fsync(descriptor)
    except OSError as error:
        # Some file systems can't do this to folders.
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.EBADF):
            raise
    finally:
        os.close(descriptor)


def _replace(source: Path, target: Path) -> None:
    if not (source.is_dir() and target.is_dir() and any(target.iterdir())):
        os.replace(source, target)
        return
    # No system call replaces a folder that is not empty: move it aside, and back if need be.
    aside = target.rename(source.with_name(f"{source.name}.old"))
    try:
        source.rename(target)
    except OSError:
        aside.rename(target)
        raise
    remove(aside)


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON, whole or not at all."""
    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    with replacing(path) as hidden:
        hidden.write_text(text, encoding="utf-8")


def append_line(path: Path, record: Mapping[str, Any]) -> None:
    """Append one line of JSON; where that fails, the file is left as it was.

    Numbers that JSON has no form for (NaN and the infinities) become null.
    """
    line = _line(record)
    with open(path, "ab", buffering=0) as file:
        end = file.seek(0, os.SEEK_END)
        try:
            data = line.encode()
            if file.write(data) != len(data):
                raise OSError(f"{path}: only part of a line could be written; is the disk full?")
            os.fsync(file.fileno())
        except OSError:
            file.truncate(end)
            raise


def write_lines(path: Path, records: Iterable[Mapping[str, Any]]) -> None:
    """Write a file with JSON on each line, whole or not at all."""
    with replacing(path) as hidden:
        hidden.write_text("".join(map(_line, records)), encoding="utf-8")


def remove(path: Path) -> None:
    """Remove a file or a folder where there is one; what can't be removed stays."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def read_json(path: Path, expected: str) -> Any:
    """Return the value in a JSON file, or raise `ValueError` naming the file and `expected`."""
    return _read(path, expected, json.loads)


def read_lines(path: Path, expected: str) -> list[Any]:
    """Return the values of a file with JSON on each line."""
    return _read(path, expected, lambda text: [json.loads(line) for line in text.splitlines()])


def _read(path: Path, expected: str, parse: Callable[[str], Any]) -> Any:
    try:
        return parse(path.read_text(encoding="utf-8"))
    except ValueError as error:  # not UTF-8, or not JSON
        raise ValueError(f"{path}: damaged: expected {expected} ({error})") from error


def _line(record: Mapping[str, Any]) -> str:
    finite = {name: value if _is_finite(value) else None for name, value in record.items()}
    return json.dumps(finite, ensure_ascii=False, allow_nan=False) + "\n"


def _is_finite(value: Any) -> bool:
    return not isinstance(value, float) or value - value == 0.0
