"""Files of a user's own that register what they add: indicators, statements, topics and rules."""

from __future__ import annotations

import sys
import threading
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

from .errors import DeepTraderError, SettingsError

_run: set[Path] = set()
_lock = threading.Lock()


def load_plugins(folder: Path | None) -> None:
    """Run each Python file of a folder, in the order of their names; each once in a process.

    Args:
        folder: None: there are none.

    Raises:
        SettingsError: the folder is not there, or a file fails; it says which, and why.
    """
    if folder is None:
        return
    if not folder.is_dir():
        raise SettingsError(f"The folder of plugins {folder} does not exist.", hint="Correct DEEPTRADER_PLUGINS_DIR.")
    with _lock:
        for path in sorted(folder.resolve().glob("*.py")):
            if path in _run:
                continue
            spec = spec_from_file_location(f"deeptrader_plugin_{path.stem}", path)
            assert spec is not None  # it ends in .py
            assert spec.loader is not None
            module = sys.modules[spec.name] = module_from_spec(spec)
            try:
                spec.loader.exec_module(module)
            except DeepTraderError as error:
                raise SettingsError(f"{path}: {error.message}", hint=error.hint) from error
            except (Exception, SystemExit) as error:
                why = f"{type(error).__name__}: {error}".rstrip(".")
                hint = "Correct the file, or take it out of the folder."
                raise SettingsError(f"{path} failed with {why}.", hint=hint) from error
            _run.add(path)
