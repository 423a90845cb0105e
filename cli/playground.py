"""`deeptrader playground`: chat with the team and see what it knows, on a page of its own."""

from __future__ import annotations

import logging
from typing import Annotated

import typer

from ..core.errors import SettingsError
from .options import AsOf, DataDir, Market, runtime_for
from .output import errors


def playground(
    port: Annotated[int, typer.Option("--port", min=1, max=65_535, help="Port to listen on.")] = 7777,
    host: Annotated[str, typer.Option("--host", help="Address to bind. Anything but loopback needs --token.")] = (
        "127.0.0.1"
    ),
    token: Annotated[
        str | None,
        typer.Option(
            "--token",
            envvar="DEEPTRADER_PLAYGROUND_TOKEN",
            help="Secret every request must bring; better set as DEEPTRADER_PLAYGROUND_TOKEN.",
        ),
    ] = None,
    user: Annotated[
        list[str] | None,
        typer.Option(
            "--user",
            envvar="DEEPTRADER_PLAYGROUND_USERS",
            help="NAME:TOKEN of somebody who sees only their own sessions; repeatable, in the variable with spaces.",
        ),
    ] = None,
    allow_host: Annotated[
        list[str] | None, typer.Option("--allow-host", help="Further host name to answer to; repeatable.")
    ] = None,
    allow_origin: Annotated[
        list[str] | None,
        typer.Option("--allow-origin", help="Other site that may call, e.g. https://os.agno.com; repeatable."),
    ] = None,
    market: Market = None,
    as_of: AsOf = None,
    data_dir: DataDir = None,
) -> None:
    """Serve the playground: chat, what the team knows, sleep; with agno's REST interface beside it."""
    from ..playground.access import Access

    pairs = [given.partition(":") for given in user or ()]
    if len({name for name, _, _ in pairs}) < len(pairs):
        raise SettingsError("A user is named twice.", hint="Give each one NAME:TOKEN.")
    access = Access(
        host=host,
        token=token,
        users={name: secret for name, _, secret in pairs},
        hosts=tuple(allow_host or ()),
        origins=tuple(allow_origin or ()),
    )
    from ..playground.app import require_extra, serve

    require_extra()
    from agno.utils.log import agent_logger, team_logger, workflow_logger

    from ..playground.desk import Desk

    for logger in (agent_logger, team_logger, workflow_logger):
        logger.addFilter(lambda record: record.levelno >= logging.WARNING)  # its level agno sets anew in each run
    with runtime_for(data_dir, market, as_of) as runtime:
        runtime.khala.journal.require_writable()  # sessions are kept beside it
        desk = Desk(runtime)
        name = f"[{host}]" if ":" in host else host
        errors.print(f"DeepTrader playground: http://{name}:{port}  ({desk.model_name}). Ctrl+C ends it.", markup=False)
        serve(desk, port=port, access=access)
