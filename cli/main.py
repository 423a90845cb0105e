"""Entry point: the commands put together, and every error turned into one line and an exit code.

Exit codes: 0 done, 1 unexpected, 2 wrong use, 3 a source did not deliver, 4 memory trouble, 5 a budget stopped it,
6 verification failed, 130 interrupted.
"""

from __future__ import annotations

import logging
import os
import sys
from importlib.metadata import version
from typing import Annotated

import typer

from ..core.errors import DeepTraderError
from ..core.settings import unknown_variables
from . import demo, engine, knowledge, operate, playground, security, sleep, team
from .output import console, errors, print_error

# Typer brings its own copy of click in newer versions; this is the base of its complaints about usage in all of them.
WrongUse: type[Exception] = typer.BadParameter.__mro__[2]

app = typer.Typer(
    name="deeptrader",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _version(wanted: bool) -> None:
    if wanted:
        console.print(f"deeptrader {version('deeptrader')}", highlight=False)
        raise typer.Exit


@app.callback()
def _common(
    _version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Sleep-time compute for trading teams: the market is read, computed and remembered before anybody asks."""


for module in (demo, sleep, knowledge, team, engine, security, operate, playground):
    module.register(app)


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit the process with a code a script can use."""
    os.environ.setdefault("AGNO_TELEMETRY", "false")
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    for name, near in unknown_variables().items():
        errors.print(f"warning: {name} is no setting{f'; {near} is' if near else ''}.", style="yellow", markup=False)
    try:
        given = sys.argv[1:] if arguments is None else arguments
        code = app(args=given or ["--help"], standalone_mode=False)
    except DeepTraderError as error:
        print_error(error.message, error.hint)
        code = error.exit_code
    except typer.Exit as stop:
        code = stop.exit_code
    except WrongUse as error:
        print_error(error.format_message(), "See --help.")  # type: ignore[attr-defined]
        code = 2
    except (typer.Abort, KeyboardInterrupt):
        errors.print("interrupted")
        code = 130
    except BrokenPipeError:
        # The reader (head, less) has gone: nothing is wrong with us, and Python must not complain at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    sys.exit(code if isinstance(code, int) else 0)
