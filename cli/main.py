"""Entry point: the commands put together, and every error turned into one line and an exit code.

Exit codes: 0 done, 1 unexpected, 2 wrong use, 3 a source did not deliver, 4 memory trouble, 5 a budget stopped it,
6 verification failed, 130 interrupted.

Only the module of the command that was asked for is imported: settings, memory and market take seconds to load, and
`--help` needs none of them.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from errno import ENOSPC, EPIPE
from importlib import import_module
from io import TextIOWrapper
from typing import Annotated

import typer

from ..core.errors import DeepTraderError, InvalidInput, StoreUnavailable, typed
from ..core.logs import set_up_logs

# Typer brings its own copy of click in newer versions; this is the base of its complaints about usage in all of them.
WrongUse: type[Exception] = typer.BadParameter.__mro__[2]

COMMANDS: dict[str, tuple[str, str]] = {
    "demo": ("demo", "Sleep once over recorded bars, then answer from memory: no key, no network."),
    "sleep": ("sleep", "Fetch, compute, check and remember the market, once or every few minutes."),
    "status": ("knowledge", "What is known, how fresh it is, and when sleep last ran."),
    "show": ("knowledge", "Everything known about one token."),
    "search": ("knowledge", "Search memory by meaning, with filters for states."),
    "screen": ("knowledge", "Find and rank tokens in memory by any figure, within conditions."),
    "ask": ("team", "Ask the team, or memory alone."),
    "chat": ("team", "Talk with the team until you say exit."),
    "instructions": ("team", "List which instructions file each agent uses, or copy one out for editing."),
    "holdings": ("holdings", "What is held: worth, result, stop; add, remove, import."),
    "alerts": ("holdings", "What changed materially about what is held or watched, and where it was told."),
    "watch": ("holdings", "The watch list: tokens kept in memory besides the top of the market."),
    "plan": ("engine", "What the next cycle would do, in order, and why."),
    "ledger": ("engine", "What sleep cost and saved, and how well questions were foreseen."),
    "results": ("results", "How the calls of rules and of the team turned out, beside holding and the market."),
    "replay": ("results", "Cycles over recorded bars: the record that such a team would have had."),
    "security": ("security", "Every security check of a token by itself."),
    "record": ("operate", "Write bars of a market to a folder that `--market recorded` replays."),
    "backup": ("operate", "Write the whole memory to one file."),
    "restore": ("operate", "Put a backup in the memory's place; into PostgreSQL too."),
    "repair": ("operate", "Rebuild Chroma from the journal, beside the old index, and swap it in."),
    "doctor": ("doctor", "Check installation, settings, memory, embedder and model."),
    "universe": ("operate", "The tokens of the market now, and which of them memory knows."),
    "playground": ("playground", "Serve the page and agno's REST interface, and sleep meanwhile."),
}
"""Each command, the module it is in, and its line in the list of commands."""


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version  # reads all of email and zipfile

        typer.echo(f"deeptrader {version('deeptrader')}")
        raise typer.Exit


def _common(
    _version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Sleep-time compute for trading teams: the market is read, computed and remembered before anybody asks."""


def build(wanted: str | None) -> typer.Typer:
    """The command line with `wanted` ready to run and every other command as a name with its line of help."""
    app = typer.Typer(name="deeptrader", add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
    app.callback()(_common)
    for name, (module, line) in COMMANDS.items():
        ours = getattr(import_module(f".{module}", __package__), name) if name == wanted else _not_loaded
        app.command(name, short_help=line)(ours)
    return app


def _not_loaded() -> None:
    """Stands for a command that was not asked for."""


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit the process with a code a script can use."""
    os.environ.setdefault("AGNO_TELEMETRY", "false")
    given = sys.argv[1:] if arguments is None else arguments
    wanted = next((word for word in given if not word.startswith("-")), None)
    if wanted in COMMANDS and "--help" not in given:
        set_up_logs()
        _point_out_unknown_variables()
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # it was closed by whoever started us
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115 - for as long as the process
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # a sign that the output's encoding lacks costs that sign, not the answer
            stream.reconfigure(errors="replace")
    try:
        code = _run(lambda: build(wanted)(args=given or ["--help"], standalone_mode=False), json="--json" in given)
        sys.stdout.flush()
    except OSError as error:
        if not isinstance(error, BrokenPipeError) and error.errno != ENOSPC:
            raise
        # Python must not complain at exit. Where the reader (head, less) has gone, nothing is wrong with us either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
        if error.errno == ENOSPC:
            full = StoreUnavailable(f"The output cannot be written: {error.strerror}.", hint="Write it elsewhere.")
            _say(full, json=False)
            code = full.exit_code
    sys.exit(code if isinstance(code, int) else 0)


def _run(command: Callable[[], object], *, json: bool) -> object:
    try:
        return command()
    except DeepTraderError as error:
        _say(error, json)
        return error.exit_code
    except typer.Exit as stop:
        return stop.exit_code
    except WrongUse as error:
        message = error.format_message().replace("Value error, ", "")  # type: ignore[attr-defined]
        _say(InvalidInput(message, hint="See --help."), json)
        return 2
    except (typer.Abort, KeyboardInterrupt):
        sys.stderr.write("interrupted\n")
        return 130
    except Exception as error:
        if not json or (isinstance(error, OSError) and error.errno in (EPIPE, ENOSPC)):  # no output: see `main`
            raise
        _say(typed(error, "The command"), json)
        return 1


def _say(error: DeepTraderError, json: bool) -> None:
    from .output import print_error, print_json

    if json:
        print_json({"schema_version": 1} | error.as_dict())
    else:
        print_error(error.message, error.hint)


def _point_out_unknown_variables() -> None:
    from ..core.settings import unknown_variables

    for name, near in unknown_variables().items():
        sys.stderr.write(f"warning: {name} is no setting{f'; {near} is' if near else ''}.\n")
