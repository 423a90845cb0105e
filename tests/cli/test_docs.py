"""What README and documentation say is so: commands and options exist, generated parts are up to date."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import Any

import pytest
import typer
from doubles.pages import ROOT, blocks

from deeptrader.cli.main import COMMANDS, build


@pytest.mark.parametrize("text", [*blocks("sh"), *blocks("")])
def test_every_command_and_option_that_is_shown_exists(text):
    for line in re.findall(r"^deeptrader (.*)$", text, re.MULTILINE):
        name, *rest = line.partition("#")[0].split()
        assert name in COMMANDS, line
        command: Any = typer.main.get_command(build(name))
        known = {option for param in command.commands[name].params for option in (*param.opts, *param.secondary_opts)}
        assert {word for word in rest if word.startswith("--")} <= known, line


def test_what_is_generated_from_the_code_is_up_to_date():
    script = [sys.executable, str(ROOT / "scripts/build_docs.py"), "--check"]
    done = subprocess.run(script, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_site_builds_without_a_warning(tmp_path):
    subprocess.run([sys.executable, str(ROOT / "scripts/link_typing.py")], check=True, timeout=60)
    build_site = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)]
    done = subprocess.run(build_site, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "deep_trader_manager" in (tmp_path / "python/index.html").read_text(encoding="utf-8")
