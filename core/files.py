"""Files that a reader sees whole, the old one or the new one and never a part; and pictures."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

from .errors import StoreUnavailable


def write_whole(path: Path, content: str | bytes) -> None:
    """Put a file in the place of another in one step; its folder is made where it is missing.

    Raises:
        OSError: it cannot be written; what was there stays.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}.new")
    fresh.write_bytes(content.encode() if isinstance(content, str) else content)
    fresh.replace(path)


def save_plot(figure: Any, path: str | Path) -> None:
    """Write a matplotlib figure to a picture; its folder is made where it is missing.

    Raises:
        StoreUnavailable: it cannot be written, or its ending names no format there is.
    """
    try:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path)
    except (OSError, ValueError) as error:  # a ValueError names the formats there are
        raise StoreUnavailable(
            f"{path} cannot be written: {error}.", hint="Name another file, ending in .png."
        ) from error
