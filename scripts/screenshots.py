"""Pictures of the playground for the README, taken in a headless Chromium: `make screenshots`.

The market is simulated and the model is scripted, so that the pictures can be made again on any machine, offline. With
`--all FOLDER` every view is taken in light and dark, wide and on a phone, to be looked at.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from doubles.playground_process import FLAGS, chromium_path, serving

ROOT = Path(__file__).resolve().parents[1]
WIDE, PHONE = {"width": 1360, "height": 850}, {"width": 390, "height": 844}
QUESTION = "How does SIM001-USD look?"
VIEWS = {
    "chat": "/",
    "known": "/known",
    "portfolio": "/portfolio",
    "token": "/token/SIM001-USD",
    "sleep": "/sleep",
}


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--all", type=Path, help="folder for every view in every form")
    options.add_argument("--out", type=Path, default=ROOT / "docs" / "images", help="folder of the README's pictures")
    given = options.parse_args()
    from playwright.sync_api import sync_playwright

    with (
        tempfile.TemporaryDirectory() as folder,
        serving(Path(folder) / "data", "--top", "50", "--plain-names") as server,
        sync_playwright() as playwright,
    ):
        browser = playwright.chromium.launch(executable_path=chromium_path(), args=FLAGS)
        session = prepare(browser, server.url)
        if given.all:
            given.all.mkdir(parents=True, exist_ok=True)
            for scheme in ("light", "dark"):
                for size, viewport in (("wide", WIDE), ("phone", PHONE)):
                    for view, path in VIEWS.items():
                        target = given.all / f"{view}-{scheme}-{size}.png"
                        take(browser, server.url + (session if view == "chat" else path), target, scheme, viewport)
        given.out.mkdir(parents=True, exist_ok=True)
        take(browser, server.url + "/known", given.out / "playground-known.png", "light", WIDE)
        take(browser, server.url + session, given.out / "playground-chat.png", "dark", WIDE)
        take(browser, server.url + VIEWS["token"], given.out / "playground-token.png", "light", WIDE)
        browser.close()


def prepare(browser: Any, url: str) -> str:
    """Ask one question once the first cycle has published; returns the conversation's path."""
    page = browser.new_page(viewport=WIDE)
    page.goto(url)
    page.wait_for_function("document.querySelector('.bar-status')?.innerText.includes(' of 50 fresh')", timeout=120_000)
    page.fill(".composer textarea", QUESTION)
    page.keyboard.press("Enter")
    page.wait_for_selector("article[data-state=done]", timeout=60_000)
    path = page.url.removeprefix(url)
    page.close()
    return path


def take(browser: Any, url: str, target: Path, scheme: str, viewport: dict[str, int]) -> None:
    """One picture, once everything in the view is there."""
    context = browser.new_context(viewport=viewport, color_scheme=scheme, device_scale_factor=1)
    page = context.new_page()
    page.goto(url)
    ready = {
        "/known": "table.memory tbody tr",
        "/portfolio": ".alerts, .empty",
        "/sleep": ".tiles",
        "/token": ".chart canvas",
    }
    page.wait_for_selector(next((s for part, s in ready.items() if part in url), "article[data-state=done]"))
    page.wait_for_load_state("networkidle")
    page.wait_for_function("document.querySelector('.bar-status')?.innerText.includes('fresh')")
    if "/token" in url:
        page.wait_for_selector("text=nearest before")
    if "session=" in url:
        page.click(".steps > summary")  # the lines that memory put in front of the question
    page.evaluate("document.activeElement?.blur()")
    page.screenshot(path=target)
    shrink(target)
    context.close()
    print(target, f"{target.stat().st_size / 1024:.0f} kB")


def shrink(target: Path) -> None:
    """At most 256 colours: a page has few, and the file becomes a third."""
    from PIL import Image

    with Image.open(target) as image:
        image.convert("RGB").quantize(256, dither=Image.Dither.NONE).save(target, optimize=True)


if __name__ == "__main__":
    main()
