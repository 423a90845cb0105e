"""The server: AgentOS with both agents and the sleep workflow, the page on top, the gatekeeper in front."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core.errors import SettingsError, StoreBusy
from .access import PROBES, Access, App, Gatekeeper, Receive, Scope, Send, respond
from .intake import Intake, answer_mistakes

if TYPE_CHECKING:
    from fastapi import FastAPI

    from .desk import Desk

STATIC_DIR = Path(__file__).parent / "static"
RECONNECT_SECONDS = 20.0
"""How long a page that lost its connection (a phone asleep, a short outage) finds everything as it left it."""
SHUTDOWN_SECONDS = 5
PROBE_SECONDS = 5.0
"""A look at memory that takes longer has found it out of order."""
SWITCH_SECONDS = 0.0005


def build_app(desk: Desk, *, access: Access | None = None) -> Gatekeeper:
    """The ASGI application. One per process: the page's library keeps its state in the process.

    Raises:
        SettingsError: the `playground` extra is not installed, or there is an application in this process already.
    """
    require_extra()
    # Nothing is stored there, but the library looks; its default is a folder in the working directory.
    os.environ.setdefault("NICEGUI_STORAGE_PATH", str(desk.settings.store_dir / "page"))
    access = access or Access()
    app = _agent_os(desk, access)
    _mount_page(desk, app)
    return Gatekeeper(Intake(app), access)


def _agent_os(desk: Desk, access: Access) -> FastAPI:
    from agno.os import AgentOS
    from fastapi import FastAPI
    from starlette.routing import Route

    base = FastAPI(title="DeepTrader playground", lifespan=desk.lifespan, docs_url=None, redoc_url=None)
    for path, look in zip(PROBES, (desk.healthy, desk.ready), strict=True):
        base.router.routes.append(Route(path, Probe(look), methods=["GET"]))
    os_ = AgentOS(
        id="deeptrader",
        name="DeepTrader",
        description="A trading team that sleeps on the market",
        agents=[desk.analyst],
        teams=[desk.team],
        workflows=[_workflow(desk)],
        db=desk.db,
        base_app=base,
        cors_allowed_origins=list(access.origins) or ["http://localhost"],
        telemetry=False,
    )
    app = os_.get_app()
    answer_mistakes(app)
    # agno answers "/" with a line of JSON; here the page is. Its other routes stay as they are.
    app.router.routes[:] = [route for route in app.router.routes if _paths(route) != ["/"]]
    return app


class Probe:
    """Answers 200, or 503 with the reason, to whoever asks; memory is looked at by one thread at a time."""

    def __init__(self, look: Callable[[], str | None]) -> None:
        self._look = look
        self._looking: asyncio.Task[str | None] | None = None

    async def __call__(self, scope: Scope, _receive: Receive, send: Send) -> None:
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(asyncio.to_thread(self._look))
        done, _ = await asyncio.wait([self._looking], timeout=PROBE_SECONDS)
        why = self._looking.result() if done else "memory did not answer in time"
        await respond(send, 503 if why else 200, f"{why or 'ok'}\n")


def _workflow(desk: Desk) -> Any:
    """A workflow of one step that runs one sleep cycle under the store's lease.

    Its content is the cycle's report as JSON; while another cycle runs it is that error as JSON, and nothing was done.
    """
    from agno.workflow import HumanReview, OnError, Step, StepOutput, Workflow

    async def run_cycle(_step_input: Any) -> Any:
        try:
            report = await asyncio.to_thread(desk.engine.run_once)
        except StoreBusy as error:  # no failure: the work is being done
            return StepOutput(content=json.dumps(error.as_dict()))
        return StepOutput(content=report.model_dump_json())

    # Without `fail`, agno counts a step that raised as skipped and the run as a success.
    step = Step(name="sleep-cycle", executor=run_cycle, max_retries=0, human_review=HumanReview(on_error=OnError.fail))
    return Workflow(
        id="deeptrader-sleep-cycle",
        name="DeepTrader sleep cycle",
        description="One pass over the market: observe, plan, fetch, compute, check, verify, publish, prepare.",
        db=desk.db,
        steps=[step],
        telemetry=False,
    )


def _paths(route: Any) -> list[str]:
    """The paths behind a route; newer FastAPI keeps an included router as one object without a path of its own."""
    router = getattr(route, "original_router", None)
    routes = router.routes if router is not None else [route]
    return [getattr(each, "path", "") for each in routes]


PAGES = ("/", "/known", "/portfolio", "/sleep", "/token/{symbol}")


class _OnlyPages:
    """The page's library in front of which an address that is no page of ours is not found."""

    def __init__(self, app: App) -> None:
        from starlette.routing import compile_path

        self._app = app
        self._pages = [compile_path(page)[0] for page in PAGES]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"]
        own = path.startswith("/_nicegui") or path == "/favicon.ico" or any(page.match(path) for page in self._pages)
        if scope["type"] != "http" or own:
            # The library shows its page only where it finds itself as the endpoint.
            await self._app({**scope, "endpoint": self._app}, receive, send)
        else:
            await respond(send, 404, f"There is nothing at {path!r}. The playground begins at /\n")


def _mount_page(desk: Desk, app: FastAPI) -> None:
    from nicegui import core, ui
    from starlette.routing import Mount

    from .chat_view import chat_view
    from .frame import Frame
    from .known_view import known_view
    from .portfolio_view import portfolio_view
    from .sleep_view import sleep_view
    from .token_view import token_view

    if core.app.config.has_run_config:
        raise SettingsError("This process serves a playground already.", hint="Start another process for another one.")
    script, style, shell = ((STATIC_DIR / name).read_text("utf-8") for name in ("app.js", "app.css", "shell.html"))

    def root() -> None:
        # In the page itself, so that on a slow network it is readable before anything else has come.
        ui.add_head_html(
            f"<script>{script}</script><style>{style}</style>"
            '<meta name="description" content="What the trading team knows, and how fresh it is">'
        )
        now = desk.runtime.clock.now().timestamp()
        # What stands there until the page's scripts have come, and the list of keys.
        ui.add_body_html(shell)
        ui.add_body_html(f"<script>deeptrader.setPresent({now!r}, {str(desk.replaying).lower()})</script>")
        views = (chat_view, known_view, portfolio_view, sleep_view, token_view)
        Frame(desk, {page: partial(view, desk) for page, view in zip(PAGES, views, strict=True)})

    _paint_before_styles_come()
    core.app.config.quasar_config["loadingBar"] = {"skipHijack": True}  # a bar without a name, for every request
    ui.run_with(
        app,
        root=root,
        title="DeepTrader",
        favicon=STATIC_DIR / "favicon.svg",
        dark=None,
        language="en-US",
        tailwind=False,
        binding_refresh_interval=None,
        reconnect_timeout=RECONNECT_SECONDS,
        show_welcome_message=False,
    )
    mounted = app.router.routes[-1]
    assert isinstance(mounted, Mount)
    mounted.app = _OnlyPages(mounted.app)


def _paint_before_styles_come() -> None:
    """Let the page's library load its 45 kB of styles beside what is shown, not before anything is shown."""
    from jinja2 import ChoiceLoader, DictLoader
    from nicegui.client import templates

    loader = templates.env.loader
    assert loader is not None
    source, _, _ = loader.get_source(templates.env, "index.html")
    beside = source.replace("<style>", '<style media="print" onload="this.media=\'all\'">', 1)
    templates.env.loader = ChoiceLoader([DictLoader({"index.html": beside}), loader])


def require_extra() -> None:
    """Raises SettingsError with what to install when the `playground` extra is missing."""
    from importlib.util import find_spec

    missing = [name for name in ("nicegui", "fastapi", "uvicorn", "sqlalchemy") if find_spec(name) is None]
    if missing:
        raise SettingsError(
            f"The playground needs {', '.join(missing)}.", hint="Install it: pip install 'deeptrader[playground]'."
        )


def serve(desk: Desk, *, port: int = 7777, access: Access | None = None) -> None:
    """Serve until SIGINT or SIGTERM, and return; pages that are still open do not hold the end up."""
    import uvicorn

    access = access or Access()
    # A cycle computes in a thread of this process. With Python's five milliseconds per turn every step of a request
    # would wait that long for it; half a millisecond keeps pages quick.
    sys.setswitchinterval(SWITCH_SECONDS)
    # uvicorn ends in order, then raises the signal once more for the handler that was there before: the default kills.
    signal.signal(signal.SIGTERM, lambda *_: None)
    uvicorn.run(
        build_app(desk, access=access),
        host=access.host,
        port=port,
        log_level="warning",
        timeout_graceful_shutdown=SHUTDOWN_SECONDS,
        server_header=False,
    )
