"""Loading yfinance on first use, and keeping its side effects to ourselves.

On import it wants its warnings seen, on pandas 3 it emits some hundred a cycle, its log lines go to stderr, and its
caches are SQLite files in the user's cache folder that several processes would share. Here each process gets a cache
folder of its own, the warnings it causes inside itself are silenced, and log lines written during our own calls go to
our debug log. Nothing it does for other users in the same process changes.
"""

from __future__ import annotations

import atexit
import logging
import shutil
import tempfile
import threading
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

_PREFIX = "yfinance-"
_LEFT_OVER = 7 * 86_400  # seconds after which a cache folder is taken for one of a process that died

_log = logging.getLogger(__name__)
_loading = threading.Lock()
_loaded: Any = None


def load_yfinance(cache_dir: Path, *, quiet: Callable[[str], bool]) -> Any:
    """The yfinance module, made quiet and private. The first caller's `cache_dir` holds for the process.

    `quiet(message)` is asked for each of its log lines; True keeps the line out of the log.
    """
    global _loaded
    with _loading:
        if _loaded is None:
            import yfinance

            _silence(quiet)
            yfinance.set_tz_cache_location(str(_private_folder(cache_dir)))
            _open_caches()
            _loaded = yfinance
        return _loaded


def seed_timezone(symbol: str, zone: str) -> None:
    """Tell yfinance a symbol's time zone, which it would otherwise ask Yahoo for before the first bars.

    That saves one request per symbol and a probe that keeps to no time-out. Without effect in versions of yfinance
    that keep their time zones elsewhere.
    """
    try:
        from yfinance.cache import get_tz_cache
    except ImportError:
        _log.debug("this yfinance has no time zone cache; it will ask Yahoo for each symbol")
        return
    zones = get_tz_cache()
    if zones is not None and zones.lookup(symbol) is None:
        zones.store(symbol, zone)


def _silence(quiet: Callable[[str], bool]) -> None:
    class Kept(logging.Filter):
        def filter(self, record: logging.LogRecord) -> bool:
            return not quiet(record.getMessage())

    logging.getLogger("yfinance").addFilter(Kept())
    # Pandas4Warning among them: yfinance shows deprecations on import, and causes some with every frame
    warnings.filterwarnings("ignore", category=DeprecationWarning, module=r"yfinance(\.|$)")


def _open_caches() -> None:
    """Open the SQLite caches in this thread: two threads opening them at once find no table or a locked file."""
    try:
        from yfinance.cache import get_cookie_cache, get_tz_cache
    except ImportError:
        return
    for store in (get_tz_cache(), get_cookie_cache()):
        if store is not None:
            store.lookup("")


def _private_folder(parent: Path) -> Path:
    """A new folder under `parent` for this process alone; in the system's temporary folder if that is not writable."""
    try:
        parent.mkdir(parents=True, exist_ok=True)
        for old in parent.glob(f"{_PREFIX}*"):
            if time.time() - old.stat().st_mtime > _LEFT_OVER:
                shutil.rmtree(old, ignore_errors=True)
        folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=parent))
    except OSError as error:
        _log.debug("cache folder %s cannot be used (%s)", parent, error)
        folder = Path(tempfile.mkdtemp(prefix=_PREFIX))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder
