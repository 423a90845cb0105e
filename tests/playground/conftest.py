"""A shared server, and a headless Chromium that can reach nothing but the servers of these tests."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
import pytest_asyncio
from doubles.playground_process import FLAGS, Server, chromium_path, serving


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One playground with scripted models, for all tests that leave it running."""
    with serving(tmp_path_factory.mktemp("playground") / "data") as running:
        running.run_cycle()  # memory is filled when the tests begin
        yield running


@dataclass
class Browser:
    """A window. `foreign` are requests to other hosts (none got through), `problems` what the console complained of."""

    page: Any
    foreign: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def assert_clean(self) -> None:
        assert self.foreign == []
        assert self.problems == []


OpenWindow = Callable[..., Awaitable[Browser]]


@pytest_asyncio.fixture(loop_scope="session", scope="session")
async def chromium() -> AsyncIterator[Any]:
    path = chromium_path()
    if path is None:
        pytest.skip("no Chromium on this machine")
    from playwright.async_api import async_playwright

    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield browser
        await browser.close()


@pytest_asyncio.fixture(loop_scope="session")
async def window(chromium) -> AsyncIterator[OpenWindow]:
    """`await window(url, **context options)`: a page in a context of its own, watched."""
    contexts = []

    async def open_window(url: str, **options: Any) -> Browser:
        context = await chromium.new_context(**({"viewport": {"width": 1280, "height": 860}} | options))
        context.set_default_timeout(20_000)
        contexts.append(context)
        page = await context.new_page()
        browser = Browser(page)
        home = "/".join(url.split("/")[:3])

        async def route(handler) -> None:
            asked = handler.request.url
            if asked.startswith((home, "data:", "blob:")):
                await handler.continue_()
            else:
                browser.foreign.append(asked)
                await handler.abort()

        await context.route("**/*", route)
        page.on("console", lambda m: browser.problems.append(m.text) if m.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: browser.problems.append(str(error)))
        await page.goto(url)
        return browser

    yield open_window
    for context in contexts:
        await context.close()
