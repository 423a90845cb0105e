"""What the examples share: a memory of their own, filled by one sleep cycle, and a model.

With DEEPTRADER_MODEL set (and its key), an example talks to that model. Without it, a scripted model says what it was
told to say, so that each example runs on a bare machine; everything around it is real.
"""

from __future__ import annotations

import json
import logging
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from _scripted import ScriptedModel, call

from deeptrader.core.settings import load_settings
from deeptrader.toolkits.runtime import Runtime

__all__ = ["call", "heading", "model_or_script", "show", "slept_runtime"]

for name in ("httpx", "httpx2"):
    logging.getLogger(name).setLevel(logging.WARNING)
_said: set[str] = set()


def model_or_script(*steps: Any, forever: Any = None) -> Any:
    """The model of DEEPTRADER_MODEL, or a scripted one that takes these steps."""
    named = load_settings().model
    if named is not None:
        _say(f"(talking to {named})")
        return named
    _say("(no DEEPTRADER_MODEL is set: a scripted model speaks; what it reads and calls is real)")
    return ScriptedModel(steps, forever=forever)


def _say(text: str) -> None:
    if text not in _said:
        _said.add(text)
        print(text)


@contextmanager
def slept_runtime() -> Iterator[Runtime]:
    """A memory in a temporary folder after one sleep cycle. The market is the recorded one, unless DEEPTRADER_MARKET
    names another; its present is its last bar, in the year 2013."""
    with tempfile.TemporaryDirectory(prefix="deeptrader-example-") as folder:
        settings = load_settings(data_dir=Path(folder), market=os.environ.get("DEEPTRADER_MARKET", "recorded"))
        with Runtime(settings) as runtime:
            report = runtime.engine.run_once()
            print(f"(slept: {report.count('published')} analyses of {len(report.universe)} tokens are in memory)")
            yield runtime


def heading(text: str) -> None:
    print(f"\n{text}\n{'-' * len(text)}")


def show(text: object, *, lines: int = 24) -> None:
    """A tool's reply: JSON laid out for people, the first lines of it."""
    try:
        shown = json.dumps(json.loads(str(text)), indent=1, ensure_ascii=False)
    except ValueError:
        shown = str(text)
    found = shown.splitlines()
    print("\n".join(line[:160] for line in found[:lines]))
    if len(found) > lines:
        print(f"... and {len(found) - lines} more lines")
