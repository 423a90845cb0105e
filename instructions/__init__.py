"""How the agents behave, as markdown files: shipped here, overridden one by one from a user's own folder.

load_instructions("market_analyst", settings=settings)   # text, placeholders filled
list_instructions(settings)                              # which file each agent uses, and what is wrong with it
copy_out("market_analyst", Path("my-instructions"))      # a copy to edit
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ..core.errors import InstructionsError, InvalidInput
from ..core.settings import Settings
from ..core.templates import fill, read_text

__all__ = [
    "AGENTS",
    "InstructionFile",
    "copy_out",
    "instructions_callable",
    "list_instructions",
    "load_instructions",
    "placeholders",
]

AGENTS: dict[str, str] = {"market_analyst": "MarketAnalyst", "deep_trader_manager": "DeepTraderManager"}
"""File name without `.md`, and whose behaviour it is."""

_SHIPPED = Path(__file__).resolve().parent
_HIDDEN = frozenset({"chroma_url"})


@dataclass(frozen=True)
class InstructionFile:
    """Which file an agent reads. `problem` is empty when the file is good."""

    name: str
    agent: str
    path: Path
    origin: Literal["shipped", "yours"]
    problem: str = ""


def placeholders(settings: Settings) -> dict[str, str]:
    """What `{name}` may stand for: every setting that is a plain value (no folders, no secrets), written for people.

    Args:
        settings: whose values they are.
    """
    values = {
        name: _written(getattr(settings, name))
        for name, field in type(settings).model_fields.items()
        if field.repr and name not in _HIDDEN and not name.endswith("_dir")
    }
    return values | {"sleep_every_minutes": _written(settings.sleep_every_seconds / 60)}


def load_instructions(name: str, *, settings: Settings, override: Path | None = None) -> str:
    """The text an agent is given: `override` (a file, or a folder of them) before the setting's folder before ours.

    Read from disk at every call: a few kilobytes cost microseconds, and no change is ever missed.

    Args:
        name: a key of `AGENTS`.
        settings: its folder, and the values of placeholders.
        override: a file, or a folder of them.

    Raises:
        InvalidInput: no agent has that name.
        InstructionsError: the file is empty, unreadable, or names an unknown placeholder.
    """
    path, _ = _find(name, settings, override)
    return fill(read_text(path), placeholders(settings), source=str(path))


def instructions_callable(name: str, *, settings: Settings, override: Path | None = None) -> Callable[[], str]:
    """A function for agno's `instructions`, called in each run, so that an edit counts from the next run on.

    The file is checked at once. An edit that breaks it later fails the run that meets it, with the same clear error:
    the person who is editing sees it, and no team goes on trading by rules its owner believes to have replaced.

    Args:
        name: a key of `AGENTS`.
        settings: its folder, and the values of placeholders.
        override: a file, or a folder of them.

    Raises:
        InstructionsError: the file is wrong now.
    """
    load_instructions(name, settings=settings, override=override)

    def instructions() -> str:
        return load_instructions(name, settings=settings, override=override)

    return instructions


def list_instructions(settings: Settings, *, override: Path | None = None) -> list[InstructionFile]:
    """For each agent the file it would read now, where that comes from and what is wrong with it, if anything.

    Args:
        settings: its folder, and the values of placeholders.
        override: a file, or a folder of them.
    """
    found = []
    for name, agent in AGENTS.items():
        path, origin = _find(name, settings, override)
        problem = ""
        try:
            load_instructions(name, settings=settings, override=override)
        except InstructionsError as error:
            problem = str(error)
        found.append(InstructionFile(name=name, agent=agent, path=path, origin=origin, problem=problem))
    return found


def copy_out(name: str, folder: Path, *, overwrite: bool = False) -> Path:
    """Copy a shipped file into `folder` (made if need be) for editing; returns the copy's path.

    Args:
        name: a key of `AGENTS`.
        folder: where to.
        overwrite: write over a copy that is there.

    Raises:
        InvalidInput: no agent has that name, the copy exists already, or the folder cannot be written.
    """
    _known(name)
    target = folder / f"{name}.md"
    if target.exists() and not overwrite:
        raise InvalidInput(f"{target} exists already.", hint="Edit it, delete it or allow overwriting.")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        target.write_text((_SHIPPED / f"{name}.md").read_text(encoding="utf-8"), encoding="utf-8")
    except OSError as error:
        raise InvalidInput(
            f"{target} cannot be written ({error.strerror}).", hint="Name a folder you may write to."
        ) from error
    return target


def _find(name: str, settings: Settings, override: Path | None) -> tuple[Path, Literal["shipped", "yours"]]:
    _known(name)
    for place in (override, settings.instructions_dir):
        if place is None:
            continue
        if place.suffix == ".md":
            return place, "yours"
        if not place.is_dir():
            raise InstructionsError(
                f"The instructions folder {place} does not exist.",
                hint="Create it, or correct DEEPTRADER_INSTRUCTIONS_DIR or the `instructions` argument.",
            )
        if (place / f"{name}.md").exists():
            return place / f"{name}.md", "yours"
    return _SHIPPED / f"{name}.md", "shipped"


def _known(name: str) -> None:
    if name not in AGENTS:
        raise InvalidInput(f"No agent has instructions named {name!r}.", hint=f"Use one of: {', '.join(AGENTS)}.")


def _written(value: object) -> str:
    if value is None or value == ():
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple):
        return ", ".join(_written(item) for item in value)
    if isinstance(value, float):
        return f"{value:g}"
    return str(value)
