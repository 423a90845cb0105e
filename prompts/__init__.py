"""What the sleeping analyst is asked, as markdown files beside this module."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from ..core.errors import InvalidInput
from ..core.templates import fill, read_text

__all__ = ["load_prompt"]

_FOLDER = Path(__file__).resolve().parent


def load_prompt(name: str, **values: object) -> str:
    """The prompt `name` with every `{placeholder}` replaced by the value of that name.

    Args:
        name: of a file here, without `.md`.
        values: what placeholders stand for.

    Raises:
        InvalidInput: there is no such prompt.
        InstructionsError: the file is empty, or a placeholder in it was given no value.
    """
    return fill(_text(name), {key: str(value) for key, value in values.items()}, source=f"the prompt {name!r}")


@cache
def _text(name: str) -> str:
    path = _FOLDER / f"{name}.md"
    if path.parent != _FOLDER or not path.is_file():
        known = ", ".join(sorted(p.stem for p in _FOLDER.glob("*.md"))) or "none"
        raise InvalidInput(f"There is no prompt named {name!r}.", hint=f"Known: {known}.")
    return read_text(path)
