"""The server: AgentOS with both agents and the sleep workflow, the page on top, the gatekeeper in front."""

from __future__ import annotations

import hashlib
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core.errors import SettingsError
from .access import Access, App, Gatekeeper, Receive, Scope, Send, respond

if TYPE_CHECKING:
    from fastapi import FastAPI

    from .desk import Desk

STATIC_DIR = Path(__file__).parent / "static"
RECONNECT_SECONDS = 20.0
"""How long a page that lost its connection (a phone asleep, a short outage) finds everything as it left it."""
SHUTDOWN_SECONDS = 5
SWITCH_SECONDS = 0.0005
FAVICON = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32"><rect width="32" height="32" rx="7" fill="#1c5ea6"/>'
    '<path d="M25 19.2A10 10 0 1 1 13 6.6a8 8 0 0 0 12 12.6Z" fill="none" stroke="#fff" stroke-width="2.6" '
    'stroke-linejoin="round"/></svg>'
)


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
    return Gatekeeper(app, access)


def _agent_os(desk: Desk, access: Access) -> FastAPI:
    from agno.os import AgentOS
    from fastapi import FastAPI
    from starlette.staticfiles import StaticFiles

    from .frame import STATIC
    from .workflow import sleep_workflow

    base = FastAPI(title="DeepTrader playground", lifespan=desk.lifespan, docs_url=None, redoc_url=None)
    base.mount(STATIC, StaticFiles(directory=STATIC_DIR), name="playground-static")
    os_ = AgentOS(
        id="deeptrader",
        name="DeepTrader",
        description="A trading team that sleeps on the market",
        agents=[desk.analyst],
        teams=[desk.team],
        workflows=[sleep_workflow(desk)],
        db=desk.db,
        base_app=base,
        cors_allowed_origins=list(access.origins) or ["http://localhost"],
        telemetry=False,
    )
    app = os_.get_app()
    # agno answers "/" with a line of JSON; here the page is. Its other routes stay as they are.
    app.router.routes[:] = [route for route in app.router.routes if _paths(route) != ["/"]]
    return app


def _paths(route: Any) -> list[str]:
    """The paths behind a route; newer FastAPI keeps an included router as one object without a path of its own."""
    router = getattr(route, "original_router", None)
    routes = router.routes if router is not None else [route]
    return [getattr(each, "path", "") for each in routes]


PAGES = ("/", "/known", "/sleep", "/token/{symbol}")


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
    from .frame import Frame, head
    from .known_view import known_view
    from .sleep_view import sleep_view
    from .token_view import token_view

    if core.app.config.has_run_config:
        raise SettingsError("This process serves a playground already.", hint="Start another process for another one.")
    version = hashlib.sha256(b"".join(p.read_bytes() for p in sorted(STATIC_DIR.glob("app.*")))).hexdigest()[:10]

    async def chat(session: str = "", ask: str = "", target: str = "team") -> None:
        await chat_view(desk, session, ask, target)

    def known(interval: str = "1d") -> None:
        known_view(desk, interval)

    async def token(symbol: str, interval: str = "1d") -> None:
        await token_view(desk, symbol, interval)

    async def sleep() -> None:
        await sleep_view(desk)

    def root() -> None:
        ui.add_head_html(head(version))
        now = desk.runtime.clock.now().timestamp()
        ui.add_body_html(f"<script>deeptrader.setPresent({now!r}, {str(desk.replaying).lower()})</script>")
        Frame(desk, dict(zip(PAGES, (chat, known, sleep, token), strict=True)))

    ui.run_with(
        app,
        root=root,
        title="DeepTrader",
        favicon=FAVICON,
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


def require_extra() -> None:
    """Raises SettingsError with what to install when the `playground` extra is missing."""
    from importlib.util import find_spec

    missing = [name for name in ("nicegui", "fastapi", "uvicorn", "sqlalchemy") if find_spec(name) is None]
    if missing:
        raise SettingsError(
            f"The playground needs {', '.join(missing)}.", hint="Install it: pip install 'deeptrader[playground]'."
        )


def serve(desk: Desk, *, port: int = 7777, access: Access | None = None) -> None:
    """Serve until SIGINT or SIGTERM; pages that are still open do not hold the end up."""
    import uvicorn

    access = access or Access()
    # A cycle computes in a thread of this process. With Python's five milliseconds per turn every step of a request
    # would wait that long for it; half a millisecond keeps pages quick.
    sys.setswitchinterval(SWITCH_SECONDS)
    uvicorn.run(
        build_app(desk, access=access),
        host=access.host,
        port=port,
        log_level="warning",
        timeout_graceful_shutdown=SHUTDOWN_SECONDS,
        server_header=False,
    )
