"""What goes wrong because of what the user asked for: one clear line, and an exit status."""

from collections.abc import Iterator
from contextlib import contextmanager


class UserError(Exception):
    """Something that the user can put right; shown as one line, without a traceback."""

    def __init__(self, message: str, status: int = 1) -> None:
        super().__init__(message)
        self.status = status


@contextmanager
def asked_for(status: int = 2) -> Iterator[None]:
    """Turn errors about values and files, inside the block, into a `UserError`.

    Put it around what depends on the user's input alone: an error that it should not catch is a
    bug, and wants its traceback.
    """
    try:
        yield
    except OSError as error:
        raise UserError(describe(error)) from error
    except (ValueError, TypeError) as error:
        raise UserError(str(error), status) from error


def describe(error: OSError) -> str:
    """Say what the operating system said, without its number.

    >>> describe(OSError(28, "No space left on device", "runs/first"))
    'runs/first: No space left on device'
    """
    if error.strerror is None:
        return str(error)
    name = error.filename
    return f"{name}: {error.strerror}" if name is not None else error.strerror
