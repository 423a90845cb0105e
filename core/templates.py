"""Texts that people edit: markdown files with `{placeholders}`, refused when they are wrong.

`{name}` is filled with the value of that name; `{{name}}` stays as the text `{name}`. Any other brace is left alone, so
that JSON can stand in a text as it is.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path

from .errors import InstructionsError

_PLACEHOLDER = re.compile(r"\{\{([A-Za-z_]\w*)\}\}|\{([A-Za-z_]\w*)\}")
SIZE_LIMIT = 200_000
"""Bytes. A longer file is a mistake (a log, a data file), not a text for a model."""


def read_text(path: Path) -> str:
    """The text of a file, stripped.

    Raises:
        InstructionsError: it cannot be read, is not UTF-8, is too long or holds nothing.
    """
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise InstructionsError(
            f"The file {path} cannot be read ({error.strerror}).", hint="Restore it or give another folder."
        ) from error
    if len(raw) > SIZE_LIMIT:
        raise InstructionsError(
            f"The file {path} is {len(raw):,} bytes long.", hint=f"Keep it under {SIZE_LIMIT:,} bytes."
        )
    try:
        text = raw.decode("utf-8-sig").strip()
    except UnicodeDecodeError as error:
        raise InstructionsError(f"The file {path} is not UTF-8 text.", hint="Save it as UTF-8.") from error
    if not text:
        raise InstructionsError(f"The file {path} is empty.", hint="Write the instructions or delete the file.")
    return text


def fill(text: str, values: Mapping[str, str], *, source: str) -> str:
    """The text with every `{name}` replaced. `source` names the text in an error.

    Raises:
        InstructionsError: a placeholder has no value.
    """

    def replace(match: re.Match[str]) -> str:
        escaped, name = match.groups()
        if escaped is not None:
            return "{" + escaped + "}"
        if name not in values:
            raise _unknown(name, match, text, values, source)
        return values[name]

    return _PLACEHOLDER.sub(replace, text)


def _unknown(name: str, match: re.Match[str], text: str, values: Mapping[str, str], source: str) -> InstructionsError:
    line = text.count("\n", 0, match.start()) + 1
    near = get_close_matches(name, values, n=1)
    known = f"Did you mean {{{near[0]}}}?" if near else f"Known: {', '.join(sorted(values)) or 'none'}."
    return InstructionsError(
        f"Unknown placeholder {{{name}}} in line {line} of {source}.",
        hint=f"{known} Write {{{{{name}}}}} for the text itself.",
    )
