"""What holds threads, processes or memory until it is closed."""

from typing import Self


class Closing:
    """Something that a `with` block closes at its end.

    >>> class Door(Closing):
    ...     def close(self) -> None:
    ...         print("shut")
    >>> with Door():
    ...     print("through")
    through
    shut
    """

    def close(self) -> None:
        """Let go of what is held; a second time does nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()
