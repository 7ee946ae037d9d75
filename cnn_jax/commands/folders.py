"""Where a command writes when it was not told."""

from datetime import datetime
from pathlib import Path


def fresh_folder(parent: str) -> Path:
    """Return a path in `parent`, named by date and time, at which there is nothing yet."""
    name = datetime.now().strftime("%Y-%m-%d-%H%M%S")
    path = Path(parent, name)
    number = 2
    while path.exists():
        path = Path(parent, f"{name}-{number}")
        number += 1
    return path
