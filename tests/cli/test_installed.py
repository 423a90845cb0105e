"""The wheel, in an environment of its own: every snippet of README and docs, every example, and the demo.

What is installed there is the wheel with what the pages say to install for it, so no file of this folder can be missing
from it unseen.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from doubles.openai_server import openai_server
from doubles.pages import ROOT, blocks

pytestmark = pytest.mark.timeout(1_200)

NOT_SOURCE = shutil.ignore_patterns(".*", "build", "dist", "*.egg-info", "__pycache__", "demo-output")
SHOWS = {
    "agent_os": "served from sleep",
    "local_model": "by stand-in, served from team",
    "memory_for_your_team": "'did': 'injected'",
    "memory_in_a_plain_agent": "The desk prefers entries after a calm week.",
    "own_embedder": "MSFT, found by chroma",
    "own_indicator": "The close of AAPL is below its VWAP(20): -5.5 %.",
    "own_market": "2 analyses from csv, in csv/",
    "own_news": 'Headlines about AAPL, quoted, not checked: "Apple reports first quarter results" ("Wire"',
    "own_notifier": "AAPL fell below 487.66 USD (the lower Bollinger band)",
    "own_rule": "breakout, ten day fall say hold",
    "own_security": "restricted since we advise the company",
    "team_from_scratch": "none, since all of it was fresh",
}


def run(program: Path, *arguments: str, folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """A process in an empty folder, with no setting and no key but what is given."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("DEEPTRADER_", "OPENAI_", "PYTHON", "VIRTUAL_ENV"))
    }
    return subprocess.run(
        [program, *arguments], cwd=folder, env=kept | variables, capture_output=True, text=True, timeout=300
    )


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy of what is here."""
    source, target = tmp_path_factory.mktemp("source") / "deeptrader", tmp_path_factory.mktemp("wheel")
    shutil.copytree(ROOT, source, ignore=NOT_SOURCE)
    done = run(Path(sys.executable), "-m", "build", "--wheel", "--outdir", str(target), str(source), folder=target)
    assert done.returncode == 0, done.stdout + done.stderr
    return next(target.glob("*.whl"))


@pytest.fixture(scope="session")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an environment that holds the wheel, with the extras that pages name, and nothing else."""
    folder = tmp_path_factory.mktemp("installed")
    subprocess.run([sys.executable, "-m", "venv", folder / "env"], check=True, timeout=300)
    python = folder / "env/bin/python"
    what = f"{wheel}[os,openai]"
    done = subprocess.run(
        [python, "-m", "pip", "install", "--quiet", "-c", ROOT / "constraints.txt", what],
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stderr
    return python


def test_the_wheel_holds_the_package_and_no_more(wheel: Path):
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0] for name in names} == {"deeptrader", wheel.name.split("-py3")[0] + ".dist-info"}
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert wheel.name.startswith(f"deeptrader-{version}-")
    assert f"\n## {version} " in (ROOT / "CHANGELOG.md").read_text(), "every version says what changed"


def test_the_demo_runs_from_the_wheel(python: Path, tmp_path: Path):
    done = run(python.with_name("deeptrader"), "demo", "--out", str(tmp_path / "out"), folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "AAPL is oversold: RSI(14) is 28.5, below 30." in done.stdout
    assert done.stdout.count("Bar closed (UTC)") == 3, "an answer from memory names its sources, a screen's too"


@pytest.mark.parametrize("snippet", blocks("python"))
def test_a_snippet_runs_as_pasted(python: Path, snippet: str, tmp_path: Path):
    """With a model's server on the loopback in place of OpenAI's, and the recorded market in place of Yahoo."""
    with openai_server() as server:
        given = {"OPENAI_API_KEY": "key", "OPENAI_BASE_URL": server.url, "HOME": str(tmp_path), "COLUMNS": "200"}
        given |= {"DEEPTRADER_DATA_DIR": str(tmp_path / "memory"), "DEEPTRADER_MARKET": "recorded"}
        done = run(python, "-c", snippet, folder=tmp_path, **given)
    assert done.returncode == 0, done.stderr
    if "print_response" in snippet:
        assert "one two three" in done.stdout
        assert server.seen[0][0] == "Bearer key"


def test_every_example_is_run_here():
    assert {path.stem for path in (ROOT / "examples").glob("*.py")} == set(SHOWS)


@pytest.mark.parametrize("name", SHOWS)
def test_an_example_runs(python: Path, name: str, tmp_path: Path):
    copied = str(shutil.copy(ROOT / "examples" / f"{name}.py", tmp_path))  # away from its neighbours

    done = run(python, copied, folder=tmp_path)

    assert done.returncode == 0, done.stderr
    assert SHOWS[name] in done.stdout
    assert list(tmp_path.iterdir()) == [Path(copied)]


def test_the_notebook_runs(python: Path, tmp_path: Path):
    notebook = json.loads((ROOT / "examples/first_steps.ipynb").read_text())
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert all(not cell["outputs"] for cell in cells), "what a cell printed is not kept"

    done = run(python, "-c", "\n".join("".join(cell["source"]) for cell in cells), folder=tmp_path)

    assert done.returncode == 0, done.stderr
    assert "GOOG has the highest yearly volatility of the 2 tokens" in done.stdout
