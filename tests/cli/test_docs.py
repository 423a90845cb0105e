"""What README and documentation say is so: snippets run, commands and options exist, generated parts are up to date."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer
from doubles.openai_server import openai_server

from deeptrader.cli.main import COMMANDS, build

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "examples/README.md", *sorted(ROOT.glob("docs/**/*.md"))]


def blocks(language: str) -> list[Any]:
    """Fenced blocks of a language, each with the page it is on; those that show an example are run as examples."""
    fence = re.compile(rf"^```{language}\b[^\n]*\n(.*?)^```", re.MULTILINE | re.DOTALL)
    return [
        pytest.param(text, id=f"{page.name}-{number}")
        for page in PAGES
        for number, text in enumerate(fence.findall(page.read_text(encoding="utf-8")), 1)
        if "--8<--" not in text
    ]


@pytest.mark.parametrize("snippet", blocks("python"))
def test_a_snippet_runs_as_pasted(snippet, tmp_path):
    """With a model's server on the loopback in place of OpenAI's, and the recorded market in place of Yahoo."""
    with openai_server() as server:
        given = {"OPENAI_API_KEY": "key", "OPENAI_BASE_URL": server.url, "HOME": str(tmp_path), "COLUMNS": "200"}
        given |= {"DEEPTRADER_DATA_DIR": str(tmp_path / "memory"), "DEEPTRADER_MARKET": "recorded"}
        kept = {key: value for key, value in os.environ.items() if not key.startswith("DEEPTRADER_")}

        done = subprocess.run(
            [sys.executable, "-c", snippet], cwd=tmp_path, env=kept | given, capture_output=True, text=True, timeout=300
        )

    assert done.returncode == 0, done.stderr
    if "print_response" in snippet:
        assert "one two three" in done.stdout
        assert server.seen[0][0] == "Bearer key"


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
