"""Write the parts of the documentation that follow from the code: every setting and every command.

python scripts/build_docs.py            # write docs/settings.md and the list in docs/commands.md
python scripts/build_docs.py --check    # say what is out of date, and end with 1
"""

from __future__ import annotations

import inspect
import re
import sys
from pathlib import Path
from typing import Any

import typer
from pydantic import SecretStr

from deeptrader.cli.main import COMMANDS, build
from deeptrader.core.settings import Settings

DOCS = Path(__file__).resolve().parent.parent / "docs"
BEGIN, END = "<!-- generated: commands -->", "<!-- end -->"
SHARED = ("--data-dir", "--market", "--as-of", "--json", "--help")
SETTINGS_HEAD = """# Settings

`DEEPTRADER_NAME` in the environment, or `name = value` in `deeptrader.toml` in the working directory (or in the file
that `DEEPTRADER_SETTINGS` names). The environment wins. A list in the environment has commas (`BTC-USD,ETH-USD`) or is
JSON; a `DEEPTRADER_` variable that no setting reads is pointed out, with the nearest name there is. This page is
written by `scripts/build_docs.py`.
"""


def settings_page() -> str:
    """A table for each group in `core/settings.py`."""
    parts = [SETTINGS_HEAD]
    for line in inspect.getsource(Settings).splitlines():
        if group := re.fullmatch(r"    # (.+)", line):
            parts.append(f"\n## {group[1]}\n\n| setting | default | meaning |\n|---|---|---|\n")
        elif (field := re.match(r"    (\w+): ", line)) and field[1] in Settings.model_fields:
            info = Settings.model_fields[field[1]]
            parts.append(f"| `{field[1]}` | {_default(info)} | {_cell(info.description or '')} |\n")
    return "".join(parts)


def _default(info: Any) -> str:
    if info.default_factory is not None:
        return "the user's data folder" if info.annotation is Path else "none"
    if info.default is None or info.default == ():
        return "none"
    if isinstance(info.default, tuple):
        shown = (item.get_secret_value() if isinstance(item, SecretStr) else item for item in info.default)
        return ", ".join(f"`{item}`" for item in shown)
    return f"`{str(info.default).lower() if isinstance(info.default, bool) else info.default}`"


def commands_part() -> str:
    """What each command does, its arguments and its own options."""
    parts = []
    for name in COMMANDS:
        command: Any = typer.main.get_command(build(name))
        command = command.commands[name]
        arguments = [p for p in command.params if p.param_type_name == "argument"]
        usage = " ".join([name, *(p.name.upper() if p.required else f"[{p.name.upper()}]" for p in arguments)])
        parts.append(f"### `deeptrader {usage}`\n\n{inspect.cleandoc(command.help or '')}\n")
        options = [p for p in command.params if p.param_type_name == "option" and p.opts[0] not in SHARED]
        if options:
            parts.append("\n| option | meaning |\n|---|---|\n")
            parts += [f"| {_names(p)} | {_cell(p.help or '')} |\n" for p in options]
        if shared := [p.opts[0] for p in command.params if p.opts[0] in SHARED]:
            parts.append(f"\nAlso {', '.join(f'`{name}`' for name in shared)}.\n")
        parts.append("\n")
    return "".join(parts)


def _names(option: Any) -> str:
    shown = ", ".join(f"`{name}`" for name in (*option.opts, *option.secondary_opts))
    default = option.default() if callable(option.default) else option.default
    plain = default not in (None, False, (), []) and not option.is_flag
    return f"{shown} ({default})" if plain else shown


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def main() -> None:
    """Write both files, or compare them."""
    commands = (DOCS / "commands.md").read_text(encoding="utf-8")
    before, after = commands.split(BEGIN)[0], commands.split(END)[1]
    wanted = {
        DOCS / "settings.md": settings_page(),
        DOCS / "commands.md": f"{before}{BEGIN}\n\n{commands_part()}{END}{after}",
    }
    stale = [path for path, text in wanted.items() if not path.exists() or path.read_text(encoding="utf-8") != text]
    if "--check" in sys.argv[1:]:
        if stale:
            print(f"Out of date: {', '.join(path.name for path in stale)}. Run python scripts/build_docs.py.")
        raise SystemExit(bool(stale))
    for path in stale:
        path.write_text(wanted[path], encoding="utf-8")
        print(f"wrote {path}")


if __name__ == "__main__":
    main()
