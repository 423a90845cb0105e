"""What every view stands in: bar with navigation and status, keys, theme. One page, views change without a reload."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from nicegui import ui

from ..core.errors import DeepTraderError
from ..core.formats import time_text
from .access import SIGN_OUT, SIGNED_IN, user_of
from .desk import Desk
from .dom import button, el, set_attribute, set_classes, set_text

LOGO = (
    '<svg viewBox="0 0 18 18" fill="none" stroke="currentColor" stroke-width="1.8" stroke-linecap="round" '
    'stroke-linejoin="round" aria-hidden="true"><path d="M15.6 11A7 7 0 1 1 7.2 2.4 5.6 5.6 0 0 0 15.6 11Z"/>'
    '<path d="M5.4 10.6l2.2-2.6 2 1.7 2.5-3.2"/></svg>'
)
THEME = (
    '<svg class="theme-icon" viewBox="0 0 16 16" aria-hidden="true"><circle cx="8" cy="8" r="6.2" fill="none" '
    'stroke="currentColor" stroke-width="1.5"/><path d="M8 1.8a6.2 6.2 0 0 1 0 12.4z" fill="currentColor"/></svg>'
)
VIEWS = {"/": "Chat", "/known": "What we know", "/portfolio": "Portfolio", "/sleep": "Sleep"}
STATUS_SECONDS = 2.0


class Frame:
    """Builds the bar and keeps it up to date for one browser page."""

    def __init__(self, desk: Desk, routes: dict[str, Callable[..., Any]]) -> None:
        self._desk = desk
        self._links: dict[str, Any] = {}
        el("a", "Skip to content", "skip", href="#view")
        with el("header", cls="bar", role="banner"):
            with el("a", cls="brand", href="/", aria_label="DeepTrader, chat"):
                ui.html(LOGO, sanitize=False, tag="span")
                el("span", "DeepTrader")
            with el("nav", cls="nav", aria_label="Views"):
                for path, label in VIEWS.items():
                    self._links[path] = el("a", label, href=path)
            with el("div", cls="bar-status"):
                self._fresh = el("span", "", "badge plain")
                self._sleep = el("span", "", "wide")
                self._as_of = el("span", "", "optional")
                about = "Times in UTC or in your own zone"
                button("", "quiet small", id="zone-toggle", title=about, aria_label=about)
                with el("button", cls="btn quiet small", type="button", id="theme-toggle", aria_label="Colours"):
                    ui.html(THEME, sanitize=False, tag="span")
                button("?", "quiet small wide", id="keys-toggle", aria_label="Keyboard shortcuts")
                request = ui.context.client.request
                if request is not None and getattr(request.state, SIGNED_IN, False):
                    with el("form", method="post", action=SIGN_OUT):
                        el("button", "Sign out", "btn quiet small", type="submit", title=user_of(request.scope))
        with el("div", cls="bar-progress", aria_hidden="true"):
            self._progress = el("div")
        with el("section", cls="simulated-note", aria_label="What the prices are") as self._note:
            self._made_up = el("b", "")
            self._means = el("span", "")
        page = ui.context.client.content.parent_slot
        assert page is not None
        page.parent.tag = "div"  # a second <main> otherwise, with the bar in it
        with el("main", id="view", tabindex="-1"):
            ui.sub_pages(routes, show_404=False)
        ui.context.client.sub_pages_router.on_path_changed(lambda path: self._mark(path))
        self._mark(ui.context.client.sub_pages_router.current_path)
        ui.timer(STATUS_SECONDS, self.refresh, immediate=False)
        self.show_status()

    def _mark(self, path: str) -> None:
        """Tell which view is shown, in the navigation and in the window's title."""
        path = path.partition("?")[0]
        here = "/known" if path.startswith("/token/") else path if path in VIEWS else "/"
        for target, link in self._links.items():
            set_attribute(link, "aria-current", "page" if target == here else None)
        name = path.removeprefix("/token/")[:24] if path.startswith("/token/") else VIEWS[here]
        ui.page_title(f"{name} · DeepTrader")

    async def refresh(self) -> None:
        """Read the status off the event loop and show it."""
        try:
            await self._desk.board.aread("1d")
        except DeepTraderError as error:
            self._show_failure(error)
        else:
            self.show_status()

    def show_status(self) -> None:
        """Counts, sleep state, the present."""
        desk = self._desk
        now = desk.runtime.clock.now()
        try:
            board = desk.board.latest("1d")
            sleep = desk.sleep.now()
        except DeepTraderError as error:
            self._show_failure(error)
            return
        fresh, total = board.freshness.get("fresh", 0), len(board.rows)
        set_text(self._fresh, f"{fresh} of {total} fresh" if total else "nothing known yet")
        tone = "good" if total and fresh == total else "warn" if total else "hollow"
        set_classes(self._fresh, f"badge {tone}")
        set_attribute(self._fresh, "title", None)
        words = sleep.detail if sleep.state == "running" and sleep.detail else sleep.words
        set_text(self._sleep, words)
        set_text(self._as_of, "" if desk.replaying else f"{now:%H:%M} UTC")
        made_up = "SIMULATED" if board.simulated else desk.made_up()
        self._note.set_visibility(bool(made_up))
        set_text(self._made_up, made_up)
        set_text(self._means, (" Made up," if made_up == "SIMULATED" else "") + f" as of {time_text(now)}")
        width = f"width: {100 * sleep.fraction:.0f}%" if sleep.fraction is not None else "width: 0"
        set_attribute(self._progress, "style", width)

    def _show_failure(self, error: DeepTraderError) -> None:
        set_text(self._fresh, "memory cannot be read")
        set_classes(self._fresh, "badge bad")
        set_attribute(self._fresh, "title", str(error))
