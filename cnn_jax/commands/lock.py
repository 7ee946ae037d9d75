"""One training in a run folder at a time."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cnn_jax.commands.errors import UserError


@contextmanager
def locked(run: Path) -> Iterator[None]:
    """Hold a run folder; raise `UserError` where another process is training in it.

    The system lets go of it when the process ends, however it ends.
    """
    try:
        import fcntl
    except ImportError:  # not on Windows
        yield
        return
    with open(run / "config.json", "rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(f"{run}: another process is training in it") from None
        except OSError:
            pass  # a file system without locks
        yield
