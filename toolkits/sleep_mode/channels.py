"""Channels that alerts are told on: the log, a file, a webhook, and through Apprise whatever else there is.

A channel is one line of the settings: `log`, `file:PATH`, `https://...` for a webhook, or an Apprise URL such as
`mailto://...` (https://github.com/caronc/apprise). URLs hold secrets: only `name` is shown or kept.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import httpx

from ...core.errors import SettingsError, SourceUnreachable
from ...core.formats import time_text

if TYPE_CHECKING:
    from .alerts import Alert

WEBHOOK_SECONDS = 10.0

log = logging.getLogger(__name__)


class Channel:
    """One place where alerts are told; `name` identifies it without its secrets."""

    def __init__(self, url: str) -> None:
        self._url = url
        kind, _, rest = url.partition(":")
        self._kind = kind.lower()
        self._path = Path(rest).expanduser()
        if self._kind in ("log", "file"):
            self.name = url
        else:
            host = urlsplit(url).hostname if self._kind in ("http", "https") else None
            self.name = ":".join(filter(None, (self._kind, host, hashlib.sha256(url.encode()).hexdigest()[:8])))

    def send(self, alerts: Sequence[Alert]) -> None:
        """Tell these in one message.

        Raises:
            SourceUnreachable: whoever should take them did not.
            SettingsError: the file cannot be written, or Apprise is missing or does not know the URL.
        """
        match self._kind:
            case "log":
                for alert in alerts:
                    log.warning("%s", line_of(alert))
            case "file":
                self._append(alerts)
            case "http" | "https":
                self._post(alerts)
            case _:
                self._notify(alerts)

    def _append(self, alerts: Sequence[Alert]) -> None:
        try:
            with self._path.open("a", encoding="utf-8") as file:
                file.writelines(f"{line_of(alert)}\n" for alert in alerts)
        except OSError as error:
            raise SettingsError(f"Alerts cannot be written to {self._path}: {error.strerror}.") from error

    def _post(self, alerts: Sequence[Alert]) -> None:
        document = {"schema_version": 1, "alerts": [alert.model_dump(mode="json") for alert in alerts]}
        try:
            status = httpx.post(self._url, json=document, timeout=WEBHOOK_SECONDS).status_code
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise self._unreachable(type(error).__name__) from error
        if status >= 300:
            raise self._unreachable(f"HTTP {status}")

    def _notify(self, alerts: Sequence[Alert]) -> None:
        try:
            import apprise  # an extra
        except ImportError as error:
            raise SettingsError(
                f"The channel {self.name} needs Apprise.", hint='Install it: pip install "deeptrader[alerts]".'
            ) from error
        sender = apprise.Apprise()
        if not sender.add(self._url):
            raise SettingsError(f"Apprise does not know the URL of the channel {self.name}.", hint="Correct it.")
        if not sender.notify(title=f"DeepTrader: {alerts[0].text}"[:120], body="\n".join(map(line_of, alerts))):
            raise self._unreachable("not delivered")

    def _unreachable(self, why: str) -> SourceUnreachable:
        return SourceUnreachable(f"The channel {self.name} failed: {why}.", hint="It is tried again in the next cycle.")


def line_of(alert: Alert) -> str:
    """An alert as it is told: when it was found, what and why, since when; a brief in full."""
    since = f" Last seen otherwise at {time_text(alert.since)}." if alert.since else ""
    return f"{time_text(alert.found_at)} {alert.kind}: {alert.text}{since}" + (
        f"\n\n{alert.body}" if alert.body else ""
    )
