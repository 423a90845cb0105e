"""The command as a user runs it: output, JSON documents, exit codes, one-line errors."""

from __future__ import annotations

import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest
import typer
from doubles.scripted_model import ScriptedModel
from doubles.security_server import Answer, security_server
from doubles.yahoo_server import YahooServer

from deeptrader.cli.main import COMMANDS, build, main
from deeptrader.cli.output import print_lines
from deeptrader.core.coins import use_own_list
from deeptrader.core.errors import StoreBusy
from deeptrader.core.token import Token
from deeptrader.toolkits.khala import Khala

MOMENT = "2013-01-25T22:00Z"


@pytest.fixture(scope="module")
def slept(tmp_path_factory) -> Path:
    """A data directory after one cycle over the recorded market."""
    folder = tmp_path_factory.mktemp("data")
    with pytest.raises(SystemExit) as stop:
        main(["sleep", "--once", "--market", "recorded", "--as-of", MOMENT, "--data-dir", str(folder), "--json"])
    assert stop.value.code == 0
    return folder


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")


def run(capsys, *arguments: object) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of one command."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as stop:
        main([str(argument) for argument in arguments])
    out, err = capsys.readouterr()
    return int(stop.value.code or 0), out, err


def run_json(capsys, *arguments: object) -> dict:
    code, out, err = run(capsys, *arguments, "--json")
    assert code == 0, err
    return json.loads(out)


def test_a_cycle_prints_what_it_did(capsys, tmp_path):
    code, out, _ = run(capsys, "sleep", "--once", "--market", "simulated", "--top", 3, "--data-dir", tmp_path)

    assert code == 0
    assert "published" in out
    assert "SIMULATED market" in out


def test_the_market_last_slept_on_is_the_default_of_later_commands(capsys, slept):
    document = run_json(capsys, "status", "--data-dir", slept)

    assert document["market"] == "recorded"
    assert document["freshness"]["fresh"] == 5
    assert document["now"] == "2013-01-25T22:00:00+00:00"


def test_status_shows_a_row_per_token(capsys, slept):
    _, out, _ = run(capsys, "status", "--data-dir", slept)

    rows = {line.split()[0]: line for line in out.splitlines() if line.strip()}
    assert "buy" in rows["AAPL"]
    assert "sell" in rows["IBM"]
    assert "2013-01-25 21:00" in rows["AAPL"]


def test_status_tells_what_is_stale_on_a_terminal_of_80_columns(capsys, slept, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    _, out, _ = run(capsys, "status", "--data-dir", slept, "--as-of", "2013-01-29T22:00Z")

    assert "stale: newer bar" in next(line for line in out.splitlines() if line.startswith("AAPL"))
    assert "…" not in out


def test_an_answer_in_paragraphs_has_dashes_before_statements_alone(capsys):
    print_lines("The model is down; this is what memory holds.\n\nA-USD, daily bar:\nRSI is 41.7.\nIt rose.")
    assert [line.strip() for line in capsys.readouterr().out.splitlines()] == [
        "The model is down; this is what memory holds.", "", "A-USD, daily bar:", "- RSI is 41.7.", "- It rose."
    ]  # fmt: skip


def test_a_later_moment_finds_the_same_memory_stale(capsys, slept):
    moved = ("--as-of", "2013-01-29T22:00Z")
    document = run_json(capsys, "status", "--data-dir", slept, *moved)

    assert document["freshness"]["stale"] == 5
    assert "newer_bar" in document["not_fresh"]["AAPL"]
    assert "recalls" not in document, "the small document is the default"
    full = run_json(capsys, "status", "--full", "--data-dir", slept, *moved)
    assert {recall["symbol"] for recall in full["recalls"]} == {"AAPL", "GOOG", "FB", "MSFT", "IBM"}


def test_a_replay_of_earlier_days_is_refused_whole(capsys, slept, tmp_path):
    data = shutil.copytree(slept, tmp_path / "data")
    before = run_json(capsys, "status", "--data-dir", data)
    where = ("--market", "recorded", "--data-dir", data)
    code, _, err = run(capsys, "sleep", "--once", *where, "--as-of", "2012-06-01")

    assert code == 2
    assert "nothing was changed" in err
    after = run_json(capsys, "status", "--data-dir", data)
    assert [d["sleep"].pop("last_failure") is None for d in (before, after)] == [True, False]
    assert after == before


def test_status_tells_what_holds_sleep_back_and_what_is_missing(capsys, tmp_path):
    where = ("--market", "simulated", "--data-dir", tmp_path)
    run_json(capsys, "sleep", "--once", "--top", 2, *where)
    run_json(capsys, "sleep", "--pause", *where)
    with Khala.open(tmp_path / "simulated") as khala:
        missing = Token(symbol="SIM999-USD", name="Not there", kind="crypto")
        khala.record_universe([*khala.symbols(), missing], datetime(2026, 3, 2, tzinfo=UTC))

    document = run_json(capsys, "status", *where)

    assert document["sleep"]["state"] == "paused"
    assert document["universe"] == {"tokens": 3, "missing": ["SIM999-USD"]}
    _, out, _ = run(capsys, "status", *where)
    assert "2 of 3 tokens of the universe known; missing: SIM999-USD" in " ".join(out.split())
    assert "deeptrader sleep --resume" in out


def test_status_checks_whether_memory_is_kept_up(capsys, tmp_path):
    where = ("--market", "simulated", "--data-dir", tmp_path)
    run(capsys, "sleep", "--pause", *where)
    code, out, _ = run(capsys, "status", "--check", *where)
    assert (code, out) == (1, "No cycle has been finished. Sleep is paused.\n")
    run(capsys, "sleep", "--once", "--top", 2, *where)
    assert run_json(capsys, "status", "--check", *where) == {"schema_version": 1, "ready": True, "reason": None}
    assert run(capsys, "status", "--check", *where)[0] == 0
    assert run(capsys, "status", "--check", "--market", "simulated", "--data-dir", tmp_path / "none")[0] == 4


def test_log_lines_are_json_where_that_is_set_and_name_their_cycle(tmp_path):
    (tmp_path / "bad.py").write_text(
        "from deeptrader.toolkits.market_data.rules import rule\n"
        "@rule('bad', says='nothing of more than two tokens')\n"
        "def bad(past): return past.close * (0 if past.close.shape[1] < 3 else 1 / 0)\n"
    )
    sleep = "sleep --once --market simulated --top 3 --json".split()
    done = subprocess.run(
        [Path(sys.executable).with_name("deeptrader"), *sleep, "--data-dir", tmp_path / "data"],
        env=os.environ | {"DEEPTRADER_LOG_FORMAT": "json", "DEEPTRADER_PLUGINS_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    cycle = json.loads(done.stdout)["cycle_id"]
    (line,) = [json.loads(line) for line in done.stderr.splitlines()]
    assert (line["cycle"], line["level"]) == (cycle, "ERROR")
    assert "ZeroDivisionError" in line["message"]


def test_show_tells_every_figure_and_draws_a_chart(capsys, slept, tmp_path):
    chart = tmp_path / "apple.png"

    document = run_json(capsys, "show", "apple", "--data-dir", slept, "--chart", chart)

    figures = document["recall"]["analysis"]["figures"]
    assert figures["rsi_14"]["value"] == pytest.approx(28.47, abs=0.01)
    assert "Wilder" in figures["rsi_14"]["definition"]
    assert "AAPL is oversold: RSI(14) is 28.5, below 30." in [s["text"] for s in document["statements"]]
    assert chart.read_bytes().startswith(b"\x89PNG")


def test_search_finds_by_meaning_and_by_state(capsys, slept):
    document = run_json(capsys, "search", "fell far", "--signal", "buy", "--data-dir", slept)

    assert [hit["symbols"] for hit in document["hits"] if hit["kind"] == "analysis"] == [["AAPL"]]


def test_security_lists_checks_one_by_one(capsys, slept):
    document = run_json(capsys, "security", "IBM", "--data-dir", slept)

    states = {check["id"]: check["state"] for check in document["report"]["checks"]}
    assert states["penny_price"] == "pass"
    assert states["honeypot"] == "not_applicable"


def test_plan_gives_each_token_an_action_and_a_reason(capsys, slept):
    document = run_json(capsys, "plan", "--data-dir", slept)

    assert {item["symbol"] for item in document["items"]} == {"AAPL", "GOOG", "FB", "MSFT", "IBM"}
    assert all(item["reason"] for item in document["items"])


def test_the_ledger_counts_the_cycle_and_draws_itself(capsys, slept, tmp_path):
    plot = tmp_path / "ledger.png"

    document = run_json(capsys, "ledger", "--data-dir", slept, "--plot", plot)

    assert document["ledger"]["cycles"]["cycles"] == 1
    assert plot.read_bytes().startswith(b"\x89PNG")


def test_plan_and_ledger_tell_what_was_foreseen_and_what_came_true(capsys, slept, tmp_path):
    data = shutil.copytree(slept, tmp_path / "data")
    assert run_json(capsys, "plan", "--data-dir", data)["foreseen"] == []
    assert run_json(capsys, "ask", "how is apple doing?", "--data-dir", data)["answer"]["served_from"] == "memory"
    run_json(capsys, "sleep", "--once", "--market", "recorded", "--as-of", MOMENT, "--data-dir", data)
    (foreseen,) = run_json(capsys, "plan", "--data-dir", data)["foreseen"]
    assert {"symbol": "AAPL", "topic": "state"}.items() <= foreseen.items()
    assert {"bars", "security"} <= set(foreseen["prepared"])
    run_json(capsys, "ask", "how is apple doing now?", "--data-dir", data)

    document = run_json(capsys, "ledger", "--data-dir", data)

    assert document["foresight"]["by_topic"]["state"] == {"asked": 2, "hits": 1}
    _, out, _ = run(capsys, "ledger", "--data-dir", data)
    assert "1 of 2 questions had been foreseen" in out


def test_a_screen_ranks_within_conditions(capsys, slept):
    document = run_json(capsys, "screen", "rsi_14", "--above", 60, "--highest", "--limit", 2, "--data-dir", slept)

    assert list(document["tokens"]) == ["IBM", "FB"]
    assert document["matched"] == 4
    _, out, _ = run(capsys, "screen", "rsi_14", "--below", 30, "--data-dir", slept)
    assert "1 of 5 fresh tokens is oversold" in out


def test_memory_alone_answers_with_its_sources_whatever_model_is_set(capsys, slept, monkeypatch):
    monkeypatch.setenv("DEEPTRADER_MODEL", "openai:no-such-model")
    document = run_json(capsys, "ask", "is apple oversold?", "--memory", "--data-dir", slept)

    assert document["schema_version"] == 2
    answer = document["answer"]
    assert (answer["served_from"], answer["served"], answer["tokens_in"]) == ("memory", "sleep", 0)
    assert "AAPL is oversold: RSI(14) is 28.5, below 30." in answer["text"]
    assert answer["sources"][0]["symbol"] == "AAPL"


def test_what_memory_does_not_hold_is_said_with_what_may_be_asked_instead(capsys, slept):
    code, out, _ = run(capsys, "ask", "write me a poem", "--data-dir", slept)

    assert code == 0
    assert "Ask instead:" in out


def test_the_universe_tells_which_of_it_is_in_memory(capsys, slept):
    document = run_json(capsys, "universe", "--data-dir", slept)

    assert document["known"] == 5
    assert document["tokens"][0]["freshness"] == "fresh"


def test_a_backup_is_restored_into_another_place(capsys, slept, tmp_path):
    backup, place = tmp_path / "memory.backup.db", tmp_path / "place"
    written = run_json(capsys, "backup", backup, "--data-dir", slept)
    assert written["bytes"] == backup.stat().st_size
    code, _, err = run(capsys, "backup", backup, "--data-dir", slept)
    assert code == 4
    assert "a backup overwrites nothing" in err

    held = run_json(capsys, "restore", backup, "--market", "recorded", "--data-dir", place)["status"]

    assert held["counts"]["published"] == 5
    shown = [run_json(capsys, "show", "AAPL", "--market", "recorded", "--data-dir", where) for where in (place, slept)]
    assert shown[0] == shown[1]
    aside = run_json(capsys, "restore", backup, "--market", "recorded", "--data-dir", place)["set_aside"]
    assert Path(aside).is_file()


def test_a_memory_moves_from_a_file_to_postgresql_and_back(capsys, slept, tmp_path, monkeypatch, postgres):
    if postgres is None:
        pytest.skip("PostgreSQL is not installed")
    there, back = tmp_path / "there.db", tmp_path / "back.db"
    held = shutil.copytree(slept, tmp_path / "held")  # the memory that other tests read holds nothing
    run_json(capsys, "holdings", "add", "AAPL", "3", "--at", "400", "--data-dir", held)
    run_json(capsys, "backup", there, "--data-dir", held)
    monkeypatch.setenv("DEEPTRADER_JOURNAL_URL", postgres.database())
    data_dir = ("--market", "recorded", "--data-dir", tmp_path / "place")

    run_json(capsys, "restore", there, *data_dir)

    assert "AAPL" in json.dumps(run_json(capsys, "holdings", *data_dir))
    code, _, err = run(capsys, "restore", there, *data_dir)
    assert code == 4
    assert "holds a memory already" in err
    slept_on = run_json(capsys, "sleep", "--once", "--as-of", "2013-01-28T22:00Z", *data_dir)
    assert slept_on["outcomes"][0]["outcome"] == "published"
    run_json(capsys, "backup", back, *data_dir)
    monkeypatch.delenv("DEEPTRADER_JOURNAL_URL")
    held = run_json(capsys, "restore", back, "--market", "recorded", "--data-dir", tmp_path / "home")["status"]
    assert held["counts"]["published"] == 5
    assert held["counts"]["versions"] == 10
    root = Path(__file__).parents[2]
    sources = [path.read_text("utf-8") for room in ("toolkits", "playground") for path in (root / room).rglob("*.py")]
    parts = {name for source in sources for name in re.findall(r"\.ensured?\(\"(\w+)\"", source)}
    with closing(sqlite3.connect(back)) as moved:
        carried = {name for (name,) in moved.execute("SELECT name FROM components")}
    assert carried == parts | {"khala"}, "a part whose tables nobody carries"


def test_doctor_finds_a_sound_installation(capsys, slept):
    document = run_json(capsys, "doctor", "--data-dir", slept)

    states = {check["name"]: check["state"] for check in document["checks"]}
    assert {states[name] for name in ("memory", "rules", "embedder", "indicators", "instructions")} == {"ok"}
    assert states["model"] == "warning"


def test_the_doctor_says_how_old_each_list_is_and_what_is_held_back(capsys, tmp_path, mocker):
    with YahooServer() as yahoo:
        yahoo.list_coins(3)
        for symbol in ("WNEW-USD", "WOLD-USD"):
            yahoo.list(symbol, "Wrapped Newcomer USD", price=9_999.0)
        yahoo.listings["ETH-USD"].row["regularMarketPrice"] = None
        mocker.patch("deeptrader.toolkits.runtime.Runtime.market", yahoo.market(tmp_path))
        document = run_json(capsys, "doctor", "--network", "--market", "yahoo", "--data-dir", tmp_path)

    told = {check["name"]: check["detail"] for check in document["checks"]}
    assert "held back, wrapped: WNEW-USD (wrapped: looks wrapped: 'Wrapped' in its name) and 1 more" in told["market"]
    assert "held back, no quote: ETH-USD (no_quote: no price, or no time with it)" in told["market"]
    for name in ("coins reviewed", "equities", "contracts 20", "native coins 20", "exchange sessions to 20"):
        assert name in told["lists"]


def test_the_doctor_names_what_was_made_under_other_rules(capsys, slept, monkeypatch):
    monkeypatch.setenv("DEEPTRADER_RSI_OVERSOLD", "35")

    checks = {check["name"]: check for check in run_json(capsys, "doctor", "--data-dir", slept)["checks"]}

    assert checks["rules"]["state"] == "warning"
    assert "5 of 5 analyses were made under other rules" in checks["rules"]["detail"]


def test_the_doctor_asks_the_model_when_it_may(capsys, slept, monkeypatch):
    monkeypatch.setattr("deeptrader.toolkits.models.resolve_model", lambda *_: ScriptedModel(forever="one, two"))
    monkeypatch.setenv("DEEPTRADER_MODEL", "scripted:model")

    checks = {c["name"]: c for c in run_json(capsys, "doctor", "--network", "--data-dir", slept)["checks"]}

    assert checks["model"]["state"] == "warning"
    assert "does not call tools" in checks["model"]["detail"]


def test_the_doctor_names_a_key_that_is_not_set(capsys, slept, monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.setenv("DEEPTRADER_MODEL", "openai:gpt-5-mini")

    code, out, _ = run(capsys, "doctor", "--data-dir", slept, "--json")

    checks = {check["name"]: check for check in json.loads(out)["checks"]}
    assert (code, checks["model"]["state"]) == (1, "failed")
    assert "OPENAI_API_KEY not set" in checks["model"]["detail"]
    monkeypatch.setenv("OPENAI_API_KEY", "key")
    checks = {c["name"]: c for c in run_json(capsys, "doctor", "--data-dir", slept)["checks"]}
    assert checks["model"]["state"] == "ok"


def test_the_doctor_names_a_plugin_that_fails(capsys, slept, monkeypatch, tmp_path):
    (tmp_path / "mine.py").write_text("1 / 0", encoding="utf-8")
    monkeypatch.setenv("DEEPTRADER_PLUGINS_DIR", str(tmp_path))

    code, out, _ = run(capsys, "doctor", "--data-dir", slept, "--json")

    found = json.loads(out)["checks"][-1]
    assert (code, found["name"], found["state"]) == (1, "settings", "failed")
    assert "mine.py failed with ZeroDivisionError" in found["detail"]


FURTHER = {"sleep": ["--once"], "record": ["recording", "--limit", "150"], "instructions": ["--copy", "market_analyst"]}
GIVEN = {"token": "AAPL", "text": "oversold", "question": "Is Apple oversold?"}


@pytest.mark.parametrize("name", COMMANDS)
def test_every_json_document_has_a_version(capsys, slept, tmp_path, name):
    command = typer.main.get_command(build(name)).commands[name]  # type: ignore[attr-defined]
    if not any("--json" in param.opts for param in command.params):
        pytest.skip("it prints no document")
    arguments = [GIVEN[p.name] for p in command.params if p.param_type_name == "argument" and p.name in GIVEN]
    where = ["--data-dir", shutil.copytree(slept, tmp_path / "data")]  # some of them write
    code, out, err = run(capsys, name, *arguments, *FURTHER.get(name, ()), *where, "--json")
    assert isinstance(json.loads(out)["schema_version"], int), err
    assert code in (0, 2)


def test_an_unforeseen_error_is_a_document_too(capsys, slept, monkeypatch):
    monkeypatch.setattr("deeptrader.cli.knowledge.ranked_recalls", lambda *_: 1 / 0)

    code, out, _ = run(capsys, "status", "--data-dir", slept, "--json")

    assert (code, json.loads(out)["error"]) == (1, "unforeseen")


def test_repair_rebuilds_the_index(capsys, slept):
    document = run_json(capsys, "repair", "--data-dir", slept)

    assert document["repair"]
    assert run_json(capsys, "search", "oversold", "--data-dir", slept)["hits"]


def test_recording_writes_a_folder_that_can_be_replayed(capsys, tmp_path, monkeypatch):
    folder = tmp_path / "recording"
    options = ("--top", 2, "--limit", 150, "--interval", "1d")
    code, _, err = run(capsys, "record", folder, "--market", "simulated", "--data-dir", tmp_path / "a", *options)
    assert code == 0, err
    monkeypatch.setenv("DEEPTRADER_RECORDED_DIR", str(folder))

    report = run_json(capsys, "sleep", "--once", "--market", "recorded", "--data-dir", tmp_path / "b")

    assert len(report["universe"]) == 2
    assert report["simulated"] is True  # what was simulated stays so called


def test_the_kill_switch_stops_cycles_until_it_is_released(capsys, tmp_path):
    where = ("--market", "simulated", "--data-dir", tmp_path)
    assert run_json(capsys, "sleep", "--kill", *where)["killed"] is True
    code, _, err = run(capsys, "sleep", "--once", "--top", 2, *where)
    assert code == 2
    assert "kill switch" in err

    assert run_json(capsys, "sleep", "--unkill", *where)["killed"] is False
    assert run_json(capsys, "sleep", "--once", "--top", 2, *where)["outcomes"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("show", "NOPE-USD"), "NOPE-USD"),
        (("show", "AAPL", "--interval", "5m"), "'1d', '1h'"),
        (("sleep", "--once", "--top", "-3"), "--top"),
        (("sleep", "--once", "--as-of", "yesterday"), "not a date"),
        (("sleep", "--once", "--every", "5m"), "Only one of"),
        (("sleep", "--every", "soon"), "not a duration"),
        (("sleep", "--once", "--market", "moon"), "market"),
        (("show", "AAPL", "--chart", "apple.gif"), ".png"),
        (("ask", "   "), "empty"),
        (("unheard-of",), "unheard-of"),
    ],
)
def test_wrong_use_is_one_clear_line_and_exit_code_two(capsys, slept, arguments, said):
    needs_data = arguments[0] in ("show", "sleep", "ask")
    code, out, err = run(capsys, *arguments, *(("--data-dir", slept) if needs_data else ()))

    assert code == 2
    assert said in err
    assert len([line for line in err.splitlines() if line.strip()]) == 1
    assert "Traceback" not in out + err


@pytest.mark.parametrize(
    ("arguments", "code", "error"),
    [
        (("show", "NOPE-USD"), 2, "unknown_token"),
        (("status", "--nonsense"), 2, "invalid_input"),
        (("unheard-of",), 2, "invalid_input"),
        (("status", "--data-dir", "nowhere"), 4, "store_unavailable"),
    ],
)
def test_an_error_under_json_is_json(capsys, slept, arguments, code, error):
    where = () if "--data-dir" in arguments or arguments[0] == "unheard-of" else ("--data-dir", slept)
    ended, out, err = run(capsys, *arguments, *where, "--json")

    document = json.loads(out)
    assert (ended, document["error"], document["schema_version"]) == (code, error, 1)
    assert err == ""


def test_a_data_directory_that_cannot_be_made_says_so(capsys, tmp_path):
    (tmp_path / "file").write_text("not a folder")

    code, _, err = run(capsys, "status", "--market", "recorded", "--data-dir", tmp_path / "file" / "data")

    assert code == 4
    assert "Traceback" not in err
    assert len(err.splitlines()) == 1


@pytest.fixture
def read_only(slept, tmp_path):
    """A memory that may not be written, with a note that is in the write-ahead log only."""
    with Khala.open(slept / "recorded") as khala:
        note = khala.remember("Buy calm weeks only.")
        shutil.copytree(slept, tmp_path / "data")
        khala.forget(note.memory_id)
    places = [tmp_path / "data", *(tmp_path / "data").rglob("*")]
    for place in places:
        place.chmod(place.stat().st_mode & ~0o222)
    yield tmp_path / "data"
    for place in places:
        place.chmod(place.stat().st_mode | 0o200)


_COMMANDS = """
import json, sys
from deeptrader.cli.main import main

for arguments in json.loads(sys.argv[1]):
    try:
        main(arguments)
    except SystemExit as stop:
        print("ended with", stop.code, flush=True)
"""


def test_a_memory_that_may_only_be_read_is_read_and_left_as_it_is(read_only):
    rights = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"] if os.geteuid() == 0 else []
    if rights and shutil.which("setpriv") is None:
        pytest.skip("root writes anywhere, and setpriv is not there to lay that right down")
    before = {path: path.stat().st_mtime_ns for path in read_only.rglob("*")}
    commands = [
        *(["status"], ["show", "AAPL"], ["search", "calm"], ["ask", "is apple oversold?"], ["plan"]),
        *(["ledger"], ["security", "IBM", "--refresh"], ["doctor"], ["screen"], ["sleep", "--once"]),
    ]
    arguments = [[*command, "--data-dir", str(read_only)] for command in commands]

    done = subprocess.run(
        [*rights, sys.executable, "-c", _COMMANDS, json.dumps(arguments)], capture_output=True, text=True, check=True
    )

    assert [line for line in done.stdout.splitlines() if line.startswith("ended")] == [
        *["ended with 0"] * 9,
        "ended with 4",
    ], done.stdout + done.stderr
    assert "Buy calm weeks only." in done.stdout
    assert "is read-only" in done.stderr.splitlines()[-1]
    assert "WARNING" not in done.stderr
    assert {path: path.stat().st_mtime_ns for path in read_only.rglob("*")} == before


def test_a_corrupt_journal_is_reported_and_left_as_it_is(capsys, tmp_path):
    store = tmp_path / "recorded"
    run_json(capsys, "sleep", "--once", "--market", "recorded", "--as-of", MOMENT, "--data-dir", tmp_path)
    (journal,) = [path for path in store.iterdir() if path.is_file() and path.suffix in (".db", ".sqlite", ".sqlite3")]
    for side in store.glob(f"{journal.name}-*"):
        side.unlink()
    damaged = b"this is no database" * 1000
    journal.write_bytes(damaged)

    code, _, err = run(capsys, "status", "--data-dir", tmp_path)

    assert code == 4
    assert len(err.splitlines()) == 1
    assert journal.read_bytes() == damaged


def test_a_journal_of_a_newer_version_is_refused_unharmed(capsys, tmp_path):
    store = tmp_path / "recorded"
    run_json(capsys, "sleep", "--once", "--market", "recorded", "--as-of", MOMENT, "--data-dir", tmp_path)
    (journal,) = [path for path in store.iterdir() if path.is_file() and path.suffix in (".db", ".sqlite", ".sqlite3")]
    with sqlite3.connect(journal) as connection:
        tables = [row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        (versions,) = [t for t in tables if "component" in t or "schema" in t or t == "meta"][:1]
        column = [row[1] for row in connection.execute(f"PRAGMA table_info({versions})")][-1]
        connection.execute(f"UPDATE {versions} SET {column} = 999")

    code, _, err = run(capsys, "status", "--data-dir", tmp_path)

    assert code == 4
    assert "newer" in err
    assert len(err.splitlines()) == 1


def test_a_settings_file_with_a_wrong_value_names_the_setting(capsys, tmp_path, monkeypatch):
    file = tmp_path / "deeptrader.toml"
    file.write_text("top = 0\n")
    monkeypatch.setenv("DEEPTRADER_SETTINGS", str(file))

    code, _, err = run(capsys, "status", "--data-dir", tmp_path)

    assert code == 2
    assert "top" in err


def test_instructions_are_listed_and_copied_out(capsys, tmp_path):
    listed = run_json(capsys, "instructions")["instructions"]
    assert {item["name"] for item in listed} == {"market_analyst", "deep_trader_manager"}

    code, out, _ = run(capsys, "instructions", "--copy", "market_analyst", "--to", tmp_path / "mine")

    assert code == 0
    assert (tmp_path / "mine" / "market_analyst.md").read_text().strip()
    assert "DEEPTRADER_INSTRUCTIONS_DIR" in out


def test_without_a_command_the_help_is_shown_and_the_version_by_itself(capsys, monkeypatch):
    monkeypatch.setattr("sys.argv", ["deeptrader"])
    code, out, err = run(capsys)
    assert (code, err) == (0, "")
    assert "Commands:" in out

    assert run(capsys, "--version")[1].startswith("deeptrader ")
    assert set(COMMANDS) <= {word for line in out.splitlines() for word in line.split()[:1]}


def test_help_loads_nothing_heavy_and_each_command_says_in_the_list_what_it_does():
    script = "import sys; from deeptrader.cli.main import build; build(None); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)

    heavy = {"numpy", "pandas", "pydantic", "agno", "chromadb", "rich.markdown", "deeptrader.core.settings"}
    assert not heavy & set(done.stdout.split())


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help(capsys, name):
    code, out, _ = run(capsys, name, "--help")

    assert code == 0
    assert "--data-dir" in out or name in ("demo", "instructions", "replay")


@pytest.mark.parametrize(
    "arguments", [("status",), ("show", "AAPL"), ("search", "oversold"), ("ask", "is apple oversold?"), ("ledger",)]
)
def test_looking_at_a_memory_makes_none(capsys, tmp_path, arguments):
    code, _, err = run(capsys, *arguments, "--data-dir", tmp_path / "nowhere")

    assert code == 4
    assert "There is no memory of the yahoo market" in err
    assert not (tmp_path / "nowhere").exists()


def test_a_memory_of_another_market_is_pointed_out(capsys, slept):
    code, _, err = run(capsys, "status", "--market", "simulated", "--data-dir", slept)

    assert code == 4
    assert "There is one of: recorded (--market)" in err


def test_the_doctor_looks_and_makes_nothing(capsys, tmp_path):
    checks = run_json(capsys, "doctor", "--data-dir", tmp_path / "nowhere")["checks"]

    states = {check["name"]: check["state"] for check in checks}
    assert (states["memory"], states["embedder"], states["disk"]) == ("warning", "ok", "ok")
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [("DEEPTRADER_TOP", "many", "top"), ("DEEPTRADER_EXTRA_INDICATORS", "nosuch(length=3)", "nosuch")],
)
def test_the_doctor_reports_settings_that_cannot_be_used(capsys, tmp_path, monkeypatch, name, value, said):
    monkeypatch.setenv(name, value)
    code, out, _ = run(capsys, "doctor", "--json", "--data-dir", tmp_path)

    [failed] = [check for check in json.loads(out)["checks"] if check["state"] == "failed"]
    assert (code, failed["name"]) == (1, "settings")
    assert said in failed["detail"]


def test_a_variable_that_is_no_setting_is_pointed_out(capsys, slept, monkeypatch):
    monkeypatch.setenv("DEEPTRADER_MARKETT", "yahoo")
    _, _, err = run(capsys, "status", "--data-dir", slept)

    assert "DEEPTRADER_MARKETT is no setting; DEEPTRADER_MARKET is" in " ".join(err.split())


@pytest.mark.parametrize(
    ("options", "said"),
    [(("--security", "bogus"), "Use one of safe"), (("--signal", "short"), "one of 'buy', 'sell', 'hold'"), ((), "")],
)
def test_a_search_that_can_find_nothing_is_refused(capsys, slept, options, said):
    text = "oversold" if options else "  "
    code, _, err = run(capsys, "search", text, *options, "--data-dir", slept)

    assert code == 2
    assert said in err


def test_named_tokens_are_recorded(capsys, tmp_path):
    code, out, err = run(
        capsys, "record", tmp_path / "rec", "--token", "SIM001-USD", "--market", "simulated", "--limit", 300
    )

    assert code == 0, err
    assert "1 of 1 tokens recorded" in out


def test_a_security_check_is_dated_by_the_moment_last_slept_on(capsys, slept):
    report = run_json(capsys, "security", "AAPL", "--refresh", "--data-dir", slept)["report"]

    assert report["checked_at"].startswith("2013-01-25T22:00")


def test_a_plot_makes_its_folder_and_says_why_it_cannot_be_written(capsys, slept, tmp_path):
    picture = tmp_path / "new" / "folder" / "ledger.png"
    assert run(capsys, "ledger", "--plot", picture, "--data-dir", slept)[0] == 0
    assert picture.stat().st_size > 1_000

    code, _, err = run(capsys, "ledger", "--plot", tmp_path / "ledger.song", "--data-dir", slept)
    assert code == 4
    assert "cannot be written" in err


def test_holdings_and_the_watch_list_are_kept_listed_and_taken_away(capsys, slept, tmp_path):
    data = shutil.copytree(slept, tmp_path / "data")
    where = ("--data-dir", data)

    run_json(capsys, "holdings", "add", "ibm", 2, "--at", 180, "--stop", 170, *where)
    run_json(capsys, "holdings", "add", "IBM", 2, "--at", 200, *where)
    [held] = run_json(capsys, "holdings", *where)["holdings"]
    code, table, _ = run(capsys, "holdings", *where)
    (tmp_path / "held.csv").write_text("symbol,quantity,price\nMSFT,5,20\n")
    both = run_json(capsys, "holdings", "import", tmp_path / "held.csv", *where)["holdings"]
    watched = run_json(capsys, "watch", "add", "msft", *where)

    assert (held["symbol"], held["quantity"], held["price"], held["stop"]) == ("IBM", 4, 190, 170)
    assert held["worth"] == pytest.approx(4 * held["price_seen"])
    assert code == 0
    assert "170.00" in table
    assert [row["symbol"] for row in both] == ["IBM", "MSFT"]
    assert watched == {"schema_version": 1, "watched": ["MSFT"], "from_settings": []}
    assert run_json(capsys, "holdings", "remove", "IBM", *where)["holdings"][0]["symbol"] == "MSFT"
    assert run_json(capsys, "watch", "remove", "MSFT", *where)["watched"] == []


@pytest.mark.parametrize(
    "arguments",
    [
        ("holdings", "add", "IBM"),
        ("holdings", "add", "IBM", "2"),
        ("holdings", "add", "IBM", "0", "--at", "5"),
        ("holdings", "add", "IBM", "1", "--at", "nan"),
        ("holdings", "sell", "IBM"),
        ("holdings", "import", "nosuch.csv"),
        ("watch", "add"),
    ],
)
def test_a_holding_that_cannot_be_is_wrong_use(capsys, slept, arguments):
    code, _, err = run(capsys, *arguments, "--data-dir", slept)

    assert code == 2
    assert err.startswith("error:")
    assert run_json(capsys, "holdings", "--data-dir", slept)["holdings"] == []


@pytest.mark.parametrize("arguments", [["--help"], ["status"], ["status", "--json"]])
def test_an_output_that_is_full_is_one_line_and_exit_code_four(slept, arguments):
    command = [sys.executable, "-c", "from deeptrader.cli.main import main; main()", *arguments]
    if arguments[0] == "status":
        command += ["--data-dir", str(slept)]
    with open("/dev/full", "w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, timeout=120, check=False)
    assert done.returncode == 4
    assert done.stderr.startswith("error: The output cannot be written: No space left on device.")
    assert "Traceback" not in done.stderr


def test_an_answer_stands_where_its_ask_cannot_be_written(capsys, slept, monkeypatch):
    from deeptrader.toolkits.sleep_mode.asks import AskLog

    def fail(*_: object) -> None:
        raise StoreBusy("Another process kept the journal locked for too long.")

    monkeypatch.setattr(AskLog, "_write", fail)
    code, out, _ = run(capsys, "ask", "is apple oversold?", "--memory", "--data-dir", slept)
    assert code == 0
    assert "AAPL is oversold" in out


def test_an_output_that_is_closed_is_no_failure():
    closed = [*("sh", "-c", 'exec "$0" "$@" >&-'), Path(sys.executable).with_name("deeptrader"), "instructions"]
    done = subprocess.run(closed, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_sign_that_the_output_cannot_encode_costs_no_answer(slept):
    command = [sys.executable, "-c", "from deeptrader.cli.main import main; main()", "ledger", "--data-dir", str(slept)]
    environment = os.environ | {"PYTHONIOENCODING": "latin-1"}
    done = subprocess.run(command, capture_output=True, env=environment, timeout=120, check=False)
    assert done.returncode == 0
    assert b"Sleep: " in done.stdout


def test_alerts_of_what_is_held_are_listed_with_where_they_were_told(capsys, slept, tmp_path):
    data = shutil.copytree(slept, tmp_path / "data")
    where = ("--data-dir", data)
    assert run_json(capsys, "alerts", *where)["alerts"] == []
    run_json(capsys, "holdings", "add", "IBM", 2, "--at", 180, "--stop", 1_000_000, *where)

    run(capsys, "sleep", "--once", "--as-of", "2013-01-25T22:05Z", *where)
    found = run_json(capsys, "alerts", *where)["alerts"]
    _, out, _ = run(capsys, "alerts", *where)
    brief = run_json(capsys, "alerts", "--brief", *where)["brief"]

    assert [(alert["kind"], alert["symbol"]) for alert in found] == [("stop", "IBM")]
    assert [(told["channel"], told["tries"], told["problem"]) for told in found[0]["deliveries"]] == [("log", 1, "")]
    assert "IBM reached its stop at 1,000,000.00 USD" in out
    assert "IBM has reached its stop" in brief


def test_what_a_renewal_of_the_lists_would_change_is_told_without_writing(capsys, tmp_path, monkeypatch, mocker):
    rows = [
        {"id": "bitcoin", "symbol": "btc", "name": "Bitcoin", "current_price": 5.0},
        {"id": "newcomer", "symbol": "new", "name": "Newcomer", "current_price": 5.0},
    ]
    with security_server() as server, YahooServer() as yahoo:
        server.on("/api/v3/coins/markets", Answer(rows))
        yahoo.list("NEW-USD", "Newcomer USD", price=5.0)
        yahoo.list("GRWN", "Grown Large Inc.", kind="equity")
        largest = yahoo.market(tmp_path).largest_rows()
        mocker.patch("deeptrader.toolkits.market_data.yahoo.YahooMarket.largest_rows", return_value=largest)
        monkeypatch.setenv("DEEPTRADER_COINGECKO_URL", server.url)
        document = run_json(capsys, "universe", "--check-list", "--data-dir", tmp_path)
        code, out, _ = run(capsys, "universe", "--check-list", "--data-dir", tmp_path)
        assert not (tmp_path / "coins.json").exists()
        written = run_json(capsys, "universe", "--renew", "--data-dir", tmp_path)

    assert document["added"] == ["Newcomer (NEW, newcomer): NEW-USD, coin; name and price (5) agree"]
    assert document["equities"] == ["Grown Large Inc. (GRWN)"]
    assert "Ethereum (ETH-USD)" in document["gone"]
    assert (code, document["file"]) == (0, None)
    assert "equities: 1" in out
    assert written == document | {"file": str(tmp_path / "coins.json")}
    use_own_list(tmp_path / "nowhere.json")
