"""Names that others rely on are there, and looking at the packages loads nothing heavy."""

from __future__ import annotations

import importlib
import inspect
import re
import subprocess
import sys
from dataclasses import is_dataclass
from typing import Any

import pytest

PACKAGES = ["deeptrader.agents", "deeptrader.toolkits", "deeptrader.toolkits.sleep_mode", "deeptrader.instructions"]
HEAVY = {"agno", "chromadb", "pandas", "pandas_ta", "yfinance", "numpy", "wordllama", "matplotlib"}


@pytest.mark.parametrize("package", PACKAGES)
def test_every_listed_name_can_be_imported(package):
    module = importlib.import_module(package)

    assert sorted(module.__all__) == sorted(set(module.__all__))
    for name in module.__all__:
        assert getattr(module, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        module.nonsense  # noqa: B018


@pytest.mark.parametrize("package", PACKAGES)
def test_importing_loads_nothing_heavy(package):
    code = f"import sys, {package}; print(*sorted({HEAVY!r} & set(sys.modules)))"

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)

    assert done.stdout.strip() == ""


ROOMS = [*PACKAGES, "deeptrader.prompts", *(f"deeptrader.toolkits.{room}" for room in ("khala", "market_data"))]
ROOMS += ["deeptrader.toolkits.token_security"]


def public_callables() -> dict[str, tuple[Any, str]]:
    """Functions of ours that a room lists, constructors of what is built there (a record's text tells its fields), and
    the methods that a part of a user's own must have; each with its docstring."""
    found: dict[str, tuple[Any, str]] = {}
    for room in ROOMS:
        module = importlib.import_module(room)
        for name in module.__all__:
            thing = getattr(module, name)
            if not getattr(thing, "__module__", "").startswith("deeptrader"):
                continue
            place, doc = f"{thing.__module__}.{name}", inspect.getdoc(thing) or ""
            if inspect.isfunction(thing):
                found[place] = thing, doc
            elif inspect.isclass(thing) and getattr(thing, "_is_protocol", False):
                methods = {name: method for name, method in vars(thing).items() if inspect.isfunction(method)}
                own = {name: method for name, method in methods.items() if not name.startswith(("_", "a"))}
                found |= {f"{place}.{name}": (method, inspect.getdoc(method) or "") for name, method in own.items()}
            elif inspect.isclass(thing) and not is_dataclass(thing) and "__init__" in vars(thing):
                found[place] = thing.__init__, doc
    return found


@pytest.mark.parametrize("name", public_callables())
def test_a_public_function_says_what_its_arguments_are(name):
    function, doc = public_callables()[name]
    given = inspect.signature(function).parameters.values()
    names = [p.name for p in given if p.name != "self" and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    assert doc
    told = {
        *re.findall(r"^\s+(\w+)(?:, \w+)*: ", doc.partition("Args:")[2], re.MULTILINE),
        *re.findall(r"`(\w+)`", doc),
    }
    assert "Args:" in doc or not names
    assert set(names) - told <= {"clock", "settings", "rng"}  # these are the same everywhere
