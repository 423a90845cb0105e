"""How soon the playground's first view is there, and how it answers while a sleep cycle runs.

    python benchmarks/playground.py [--tokens 500] [--runs 5] [--json]

A server in a process of its own, over the simulated market; a headless Chromium with an empty cache for every view.
Seconds from the start of navigation to the view: a screenful of the table, the question box, sleep's last cycle.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

import httpx
from doubles.playground_process import FLAGS, Server, chromium_path, serving

A_DAY = 86_400
SCREENFUL = 60


def first_views(browser: Any, server: Server, tokens: int, runs: int) -> dict[str, list[float]]:
    """Seconds to each whole view, each time in a new context."""
    rows = "document.querySelectorAll('table.memory tbody tr').length >= "
    views = {
        "what we know": ("/known", rows + str(min(tokens, SCREENFUL))),
        "all its rows": ("/known", rows + str(tokens)),
        "chat": ("/", "document.querySelector('.composer textarea') && document.querySelector('.welcome h1')"),
        "sleep": ("/sleep", "document.querySelector('.tiles')"),
    }
    found: dict[str, list[float]] = {}
    for name, (path, ready) in views.items():
        for _ in range(runs):
            context = browser.new_context(viewport={"width": 1360, "height": 850})
            page = context.new_page()
            begun = time.perf_counter()
            page.goto(server.url + path, wait_until="commit")
            page.wait_for_function(ready)
            found.setdefault(name, []).append(round(time.perf_counter() - begun, 3))
            context.close()
    return found


def during_a_cycle(browser: Any, server: Server) -> dict[str, Any]:
    """What a person feels while a cycle refreshes every token: page changes and plain requests."""
    server.advance(A_DAY)
    page = browser.new_context(viewport={"width": 1360, "height": 850}).new_page()
    page.goto(server.url + "/known")
    page.wait_for_selector("table.memory tbody tr")
    ended = threading.Event()
    begun = time.perf_counter()
    worker = threading.Thread(target=lambda: (server.run_cycle(), ended.set()), daemon=True)
    worker.start()
    changes: list[float] = []
    requests: list[float] = []
    while not ended.is_set():
        for path, sign in (("/sleep", "Sleep"), ("/known", "What we know")):
            start = time.perf_counter()
            page.click(f".nav a[href='{path}']")
            page.wait_for_function(f"document.querySelector('h1')?.innerText === '{sign}'")
            changes.append(time.perf_counter() - start)
            start = time.perf_counter()
            httpx.get(server.url + "/health")
            requests.append(time.perf_counter() - start)
    return {
        "cycle_seconds": round(time.perf_counter() - begun, 1),
        "view_change": _spread(changes),
        "request": _spread(requests),
    }


def _spread(seconds: list[float]) -> dict[str, float]:
    ordered = sorted(seconds)
    return {
        "n": len(ordered),
        "median": round(statistics.median(ordered), 3),
        "p95": round(ordered[int(0.95 * (len(ordered) - 1))], 3),
        "max": round(ordered[-1], 3),
    }


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--tokens", type=int, default=500)
    options.add_argument("--runs", type=int, default=5)
    options.add_argument("--json", action="store_true")
    given = options.parse_args()
    from playwright.sync_api import sync_playwright

    settings = ("--top", str(given.tokens), "--intervals", "1d", "--plain-names", "--no-model")
    with (
        tempfile.TemporaryDirectory() as folder,
        serving(Path(folder) / "data", *settings) as server,
        sync_playwright() as playwright,
    ):
        browser = playwright.chromium.launch(executable_path=chromium_path(), args=FLAGS)
        page = browser.new_page()
        page.goto(server.url + "/sleep")
        page.wait_for_selector(".tiles", timeout=900_000)  # the first cycle
        page.close()
        results = {
            "tokens": given.tokens,
            "first_view_seconds": first_views(browser, server, given.tokens, given.runs),
            "during_a_cycle": during_a_cycle(browser, server),
        }
        browser.close()
    if given.json:
        print(json.dumps(results, indent=2))
        return
    print(f"{given.tokens} tokens")
    for name, seconds in results["first_view_seconds"].items():
        print(f"  {name:<14} median {statistics.median(seconds):.2f} s, worst {max(seconds):.2f} s")
    cycle = results["during_a_cycle"]
    print(f"  during a cycle of {cycle['cycle_seconds']} s:")
    for name in ("view_change", "request"):
        spread = cycle[name]
        print(f"    {name:<12} median {spread['median']:.2f} s, p95 {spread['p95']:.2f} s, max {spread['max']:.2f} s")


if __name__ == "__main__":
    main()
