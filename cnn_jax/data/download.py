"""Fetching data sets by name, each file checked against the checksum that is on record for it.

A file appears under its name only when all of it has come and its checksum is right; archives are
unpacked in the same manner. What was fetched once is kept, and used again without a network.
"""

import importlib.resources
import logging
import os
import shlex
import shutil
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

FOLDER_VARIABLE = "CNN_JAX_DATA"
"""The environment variable that names the folder for fetched data."""

_ARCHIVES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".zip")
_UNPACKED = "unpacked"

Path_ = str | os.PathLike[str]


class Entry(NamedTuple):
    """A file of a data set: its name, its checksum as `algorithm:digits`, and its address."""

    name: str
    checksum: str
    url: str


def downloadable(registry: Path_ | None = None) -> tuple[str, ...]:
    """Return the names of the data sets that `download` can fetch.

    >>> downloadable()
    ('cifar10', 'cifar100', 'fashion-mnist', 'mnist')
    """
    return tuple(sorted(read_registry(registry)))


def data_folder() -> Path:
    """Return the folder for fetched data: `$CNN_JAX_DATA`, or one in the user's cache folder."""
    import pooch

    return Path(os.environ.get(FOLDER_VARIABLE) or pooch.os_cache("cnn_jax"))


def download(
    name: str,
    *,
    folder: Path_ | None = None,
    registry: Path_ | None = None,
    progress: Any = False,
    timeout: float = 30.0,
) -> Path:
    """Return the folder that holds the data set called `name`, fetched if it is not there yet.

    - `folder`: where data sets are kept, by default `data_folder()`.
    - `registry`: a file of data sets of your own, a line for each of their files:
      `DATASET/FILE sha256:DIGITS ADDRESS`.
    - `progress`: an object with `total` and `update`, `reset` and `close` in the manner of `tqdm`,
      or True for tqdm's own bar.
    - `timeout`: how many seconds a server may be silent.

    An archive among the files (`.tar.gz`, `.zip` and so on) is unpacked and not kept; where all in
    it lies in one folder, that folder is returned.

    Raises `ValueError` for a name that is not in the registry, for a registry that is malformed and
    for files whose checksum is wrong, and `OSError` for what the network or the disk prevents.
    Neither leaves anything unfinished behind, and files that are complete are kept.
    """
    entries = read_registry(registry).get(name)
    if entries is None:
        where = "" if registry is None else f" of {os.fspath(registry)}"
        raise ValueError(
            f"download: unknown name {name!r}; the data sets{where} are "
            f"{', '.join(downloadable(registry))}"
        )
    home = Path(data_folder() if folder is None else folder) / name
    for entry in entries:
        if entry.name.lower().endswith(_ARCHIVES):
            if not (home / _UNPACKED).is_dir():
                archive = fetch(
                    entry.url, home / entry.name, entry.checksum, progress=progress, timeout=timeout
                )
                _unpack(archive, home / _UNPACKED)
                archive.unlink()
        else:
            fetch(entry.url, home / entry.name, entry.checksum, progress=progress, timeout=timeout)
    return _innermost(home / _UNPACKED) if (home / _UNPACKED).is_dir() else home


def fetch(
    url: str, path: Path_, checksum: str, *, progress: Any = False, timeout: float = 30.0
) -> Path:
    """Fetch one file, unless it is there with the right checksum already, and return its path.

    `checksum` is the digits of its SHA-256, or `algorithm:digits`. A file under that name whose
    checksum is wrong is fetched anew, and replaced only by one whose checksum is right.

    Raises `ValueError` for a wrong checksum, and `OSError` for what the network or the disk
    prevents; nothing is left under that name then that was not there before.
    """
    import pooch
    import requests

    path = Path(path)
    algorithm, _, digits = checksum.rpartition(":")
    known = f"{algorithm or 'sha256'}:{digits.lower()}"
    if path.is_file() and pooch.file_hash(str(path), alg=known.split(":")[0]) == digits.lower():
        return path
    keeper = pooch.create(
        path.parent, base_url="", registry={path.name: known}, urls={path.name: url}
    )
    downloader: Any = pooch.HTTPDownloader(timeout=timeout, progressbar=progress)
    try:
        with _silent(pooch.get_logger()):
            return Path(keeper.fetch(path.name, downloader=downloader))
    except requests.exceptions.RequestException as error:
        if error.response is not None:
            error.response.close()  # or its connection stays open until it is collected
        raise OSError(f"{url}: the file did not come ({_reason(error)})") from error
    except OSError as error:
        # A full disk does not say which file it has no room for.
        raise type(error)(error.errno, error.strerror, error.filename or str(path)) from error
    except ValueError as error:
        if "hash" not in str(error):
            raise ValueError(f"{url}: {error}") from error
        raise ValueError(
            f"{url}: the file that came does not have the checksum {known}; it was not kept"
        ) from error


def read_registry(path: Path_ | None = None) -> dict[str, list[Entry]]:
    """Return the data sets in a registry file, by name; the package's own by default.

    Raises `OSError` where it can't be read and `ValueError`, naming the line, where it is
    malformed.
    """
    if path is None:
        text = importlib.resources.files("cnn_jax.data").joinpath("registry.txt").read_text("utf-8")
    else:
        try:
            text = Path(path).read_text(encoding="utf-8")
        except UnicodeDecodeError:
            raise ValueError(f"{os.fspath(path)}: expected a registry in UTF-8 text") from None
    data_sets: dict[str, list[Entry]] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        where = f"{'registry.txt' if path is None else os.fspath(path)}, line {number}"
        try:
            words = shlex.split(line, comments=line.lstrip().startswith("#"))
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from None
        if not words:
            continue
        name, slash, file = words[0].partition("/")
        if len(words) != 3 or not slash or not _is_plain(name) or not _is_plain(file):
            raise ValueError(
                f"{where}: expected DATASET/FILE, a checksum and an address, got {line.strip()!r}"
            )
        algorithm, _, digits = words[1].rpartition(":")
        try:
            valid = bool(digits) and int(digits, 16) >= 0
        except ValueError:
            valid = False
        if not valid or algorithm not in ("", "sha256", "sha512", "sha1", "md5"):
            raise ValueError(f"{where}: {words[1]!r} is not a checksum such as sha256:1f2e...")
        if not words[2].startswith(("http://", "https://")):
            raise ValueError(f"{where}: {words[2]!r} is not an address of http or https")
        data_sets.setdefault(name, []).append(Entry(file, words[1], words[2]))
    return data_sets


def _is_plain(name: str) -> bool:
    """Whether a name stays within the folder that it is put into."""
    return bool(name) and not name.startswith(".") and not {"/", "\\", "\0"} & set(name)


def _unpack(archive: Path, target: Path) -> None:
    """Unpack an archive to a folder that appears whole or not at all."""
    partial = target.with_name(f".{target.name}.{uuid4().hex}.part")
    try:
        partial.mkdir()
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as opened:
                opened.extractall(partial)
        else:
            with tarfile.open(archive) as opened:
                opened.extractall(partial, filter="data")
        os.replace(partial, target)
    except (tarfile.TarError, zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise ValueError(f"{archive}: the archive can't be unpacked: {error}") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _innermost(folder: Path) -> Path:
    inside = [path for path in folder.iterdir() if not path.name.startswith(".")]
    return inside[0] if len(inside) == 1 and inside[0].is_dir() else folder


def _reason(error: Exception) -> str:
    """Return what is at the bottom of an error of requests, in one line."""
    cause: BaseException = error
    reason = getattr(error.args[0], "reason", None) if error.args else None
    if isinstance(reason, BaseException):
        cause = reason
    text = str(cause).splitlines()[0] if str(cause) else type(cause).__name__
    return text.rsplit(">: ", 1)[-1].rsplit(": ", 1)[-1] if reason is not None else text


@contextmanager
def _silent(logger: logging.Logger) -> Iterator[None]:
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(level)
