"""A way of your own to be told what changed: here a list, in your program a pager, a queue, a chat.

    python examples/own_notifier.py

A notifier has a `name`, by which deliveries are remembered, and `send`. What it raises is a problem of that cycle, and
the alert is tried again in the next one.
"""

import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime

from deeptrader.core.settings import load_settings
from deeptrader.toolkits import Runtime
from deeptrader.toolkits.sleep_mode import Alert


class Desk:
    name = "desk"

    def __init__(self) -> None:
        self.heard: list[str] = []

    def send(self, alerts: Sequence[Alert]) -> None:
        self.heard += [alert.text for alert in alerts]


def main() -> None:
    desk = Desk()
    folder = tempfile.mkdtemp()
    settings = load_settings(data_dir=folder, market="recorded", watchlist=("AAPL",))
    for day in (23, 24):  # Apple fell by an eighth in between
        with Runtime(settings, notifier=desk, as_of=datetime(2013, 1, day, 22, tzinfo=UTC)) as runtime:
            runtime.engine.run_once()
    print("\n".join(desk.heard))


if __name__ == "__main__":
    main()
