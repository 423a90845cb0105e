"""The server over plain HTTP: agno's REST interface beside the page, other sites kept out, and the command."""

from __future__ import annotations

import json
import re
import threading
from datetime import UTC, datetime

import httpx
import pytest
from doubles.playground_process import serving
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from deeptrader.core.settings import load_settings
from deeptrader.playground import app
from deeptrader.playground.app import STATIC_DIR, Probe
from deeptrader.playground.board import Board, changes
from deeptrader.playground.desk import Desk
from deeptrader.playground.intake import BODY_LIMIT
from deeptrader.toolkits.runtime import Runtime

NOW = datetime(2026, 3, 2, 12, 30, tzinfo=UTC)


def test_the_page_is_at_the_root_and_brings_everything_it_needs(server):
    page = httpx.get(server.url + "/", headers={"accept": "text/html"})
    assert page.status_code == 200
    assert "<title>" in page.text
    for foreign in ("https://", "http://", "//cdn"):
        assert f'src="{foreign}' not in page.text
        assert f'href="{foreign}' not in page.text
    assert "url(" not in (STATIC_DIR / "app.css").read_text("utf-8")


def test_agnos_rest_interface_stays_agnos_own(server):
    ids = {
        path: [item["id"] for item in httpx.get(f"{server.url}/{path}").json()]
        for path in ("agents", "teams", "workflows")
    }
    assert ids == {
        "agents": ["market-analyst"],
        "teams": ["deep-trader-manager"],
        "workflows": ["deeptrader-sleep-cycle"],
    }
    answer = httpx.post(
        f"{server.url}/teams/deep-trader-manager/runs",
        data={"message": "How does SIM001-USD look?", "stream": "false", "session_id": "over-rest"},
        timeout=60,
    ).json()
    assert answer["status"] == "COMPLETED"
    assert "SIM001-USD" in answer["content"]
    sessions = httpx.get(f"{server.url}/sessions", params={"type": "team"}).json()
    assert "over-rest" in str(sessions)


def test_health_and_readiness_are_told_to_whoever_asks(server):
    for path in ("/healthz", "/readyz"):
        answer = httpx.get(server.url + path)
        assert (answer.status_code, answer.text) == (200, "ok\n")
        assert httpx.post(server.url + path).status_code == 404


async def test_a_look_that_hangs_is_not_waited_for_and_begun_once(monkeypatch):
    monkeypatch.setattr(app, "PROBE_SECONDS", 0.01)
    looks, go_on = [], threading.Event()

    def look() -> str | None:
        looks.append(1)
        go_on.wait(60)
        return "store_busy"

    probe = Probe(look)
    http = httpx.AsyncClient(transport=httpx.ASGITransport(app=probe), base_url="http://127.0.0.1")  # type: ignore[arg-type]
    async with http:
        for _ in range(2):
            answer = await http.get("/healthz")
            assert (answer.status_code, answer.text) == (503, "memory did not answer in time\n")
        go_on.set()
        monkeypatch.setattr(app, "PROBE_SECONDS", 60.0)
        assert (await http.get("/healthz")).text == "store_busy\n"
    assert len(looks) == 1


def test_a_server_whose_journal_is_gone_or_whose_sleep_stands_still_says_so(tmp_path):
    chosen = load_settings(data_dir=tmp_path, market="simulated", top=2, intervals=("1d",))
    with Runtime(chosen, as_of=NOW) as runtime:
        desk = Desk(runtime)
        assert desk.healthy() is None
        assert desk.ready() == "No cycle has been finished."
        runtime.engine.run_once()
        assert desk.ready() is None
        (chosen.store_dir / "journal.db").unlink()
        assert desk.healthy() == "store_unavailable"


def test_an_address_that_is_no_page_is_not_found(server):
    for path in ("/docs", "/redoc", "/nothing-here", "/known/more", "/token"):
        assert httpx.get(server.url + path, headers={"accept": "text/html"}).status_code == 404
    for path in ("/", "/known", "/portfolio", "/sleep", "/token/SIM001-USD"):
        assert httpx.get(server.url + path, headers={"accept": "text/html"}).status_code == 200


def test_other_sites_are_refused_everywhere(server):
    evil = {"origin": "https://evil.example"}
    for path in ("/", "/agents", "/sessions"):
        assert httpx.get(server.url + path, headers=evil).status_code == 403
    run = httpx.post(f"{server.url}/teams/deep-trader-manager/runs", data={"message": "x"}, headers=evil)
    assert run.status_code == 403
    socket = server.url + "/_nicegui_ws/socket.io/?EIO=4&transport=polling"
    assert httpx.get(socket, headers=evil).status_code == 403
    assert httpx.get(socket, headers={"host": "evil.example"}).status_code == 403


DEEP = '{"a": ' * 200 + "1" + "}" * 200


@pytest.mark.parametrize(
    "state", ["[" * 100_000, DEEP, '{"a": "\\ud800"}', '{"a": "\\udc00\\ud800"}', "[1]", "5", '{"a": NaN}']
)
def test_a_state_that_could_not_be_read_back_is_the_callers_mistake(server, state):
    form = {"message": "x", "stream": "false", "session_state": state, "session_id": "of-odd-state"}
    for files in (None, {"files": ("a.txt", b"[{" * 1_000, "text/plain")}):
        url = f"{server.url}/teams/deep-trader-manager/runs"
        answer = httpx.post(url, data=form, files=files, timeout=60)
        assert answer.status_code == 422
        assert answer.json()["error"] == "invalid_input"
    assert httpx.get(f"{server.url}/sessions", params={"type": "team"}).status_code == 200


def test_a_request_that_is_too_large_is_refused_before_it_is_read(server):
    answer = httpx.post(f"{server.url}/memories", content=b'{"memory": "' + b"x" * (BODY_LIMIT + 1) + b'"}')
    assert answer.status_code == 413


def test_brackets_in_a_picture_and_characters_in_pairs_are_nobodys_mistake(server):
    state = '{"a": "\\ud83d\\ude00", "b": "\\\\ud800"}'
    form = {"message": "\U0001f600 [x]", "stream": "false", "session_state": state}
    files = {"files": ("a.txt", b"[{" * 1_000, "text/plain")}
    answer = httpx.post(f"{server.url}/teams/deep-trader-manager/runs", data=form, files=files, timeout=60)
    assert answer.status_code == 200


TEXT = st.text(st.characters(), max_size=20) | st.sampled_from(["\ud800", "9" * 400, "<script>"])
ODD = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)
IDS = ["x", "market-analyst", "deep-trader-manager", "%00", "1"]


@pytest.fixture(scope="module")
def routes(server) -> list[tuple[str, str, list[str], list[str]]]:
    """Method, path, names in the query and names in the body of all that agno's interface takes."""
    spec = httpx.get(f"{server.url}/openapi.json").json()
    found = []
    for path, methods in spec["paths"].items():
        for method, about in methods.items():
            asked = [each["name"] for each in about.get("parameters", ()) if each["in"] == "query"]
            named = re.findall(r"'\$ref': '#/components/schemas/(\w+)'", str(about.get("requestBody", "")))
            fields = [field for name in named for field in spec["components"]["schemas"][name].get("properties", ())]
            if (method, path) != ("delete", "/approvals/{approval_id}"):  # agno's 500 for what is not there
                found.append((method, path, asked, fields))
    return found


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_no_request_whatever_its_shape_is_a_fault_of_the_server(server, routes, data):
    method, path, asked, fields = data.draw(st.sampled_from(routes))
    for name in re.findall(r"{\w+}", path):
        path = path.replace(name, data.draw(st.sampled_from(IDS)))
    query = {name: str(data.draw(ODD))[:500] for name in asked if data.draw(st.booleans())}
    body = {name: data.draw(ODD) for name in fields if data.draw(st.booleans())} if fields else data.draw(ODD)
    text = {name: value.encode("utf-8", "replace").decode() for name, value in query.items()}
    options = [{"content": json.dumps(body).encode(), "headers": {"content-type": "application/json"}}]
    if isinstance(body, dict):
        options.append({"data": {key.encode("utf-8", "replace"): json.dumps(value) for key, value in body.items()}})
    for sent in options:
        answer = httpx.request(method, server.url + path, params=text, timeout=60, **sent)
        assert answer.status_code < 500 or answer.status_code == 503, answer.text
        assert "Traceback" not in answer.text


def test_users_see_their_own_sessions_and_nobody_elses(tmp_path):
    tokens = {name: f"the-token-of-{name}" for name in ("anna", "ben")}
    given = [part for name, token in tokens.items() for part in ("--user", name, token)]
    with serving(tmp_path / "data", "--token", "the-token-of-all", *given) as server:
        anna, ben, all_ = (
            httpx.Client(base_url=server.url, headers={"authorization": f"Bearer {token}"}, timeout=60)
            for token in (*tokens.values(), "the-token-of-all")
        )
        for kind, asked in (("teams", "deep-trader-manager"), ("agents", "market-analyst")):
            form = {"message": "annas-secret", "stream": "false", "session_id": f"of-anna-{kind}", "user_id": "ben"}
            assert anna.post(f"/{kind}/{asked}/runs", data=form).status_code == 200
        assert httpx.get(f"{server.url}/sessions").status_code == 401
        spec = all_.get("/openapi.json").json()
        told = {}
        for path, methods in spec["paths"].items():
            place = path.replace("{session_id}", "of-anna-teams").replace("{team_id}", "deep-trader-manager")
            place = place.replace("{agent_id}", "market-analyst")
            if "get" in methods and "{" not in place:
                for query in ({}, {"user_id": "anna"}, {"type": "team"}, {"session_id": "of-anna-teams"}):
                    answer = ben.get(place, params=query)
                    told[place, *query] = answer.text if answer.status_code == 200 else ""
        assert {place: text for place, text in told.items() if "annas-secret" in text or "of-anna" in text} == {}
        for http in (anna, all_):
            assert "of-anna-teams" in http.get("/sessions", params={"type": "team"}).text
        assert ben.delete("/sessions/of-anna-teams", params={"type": "team"}).status_code in (204, 403, 404)
        form = {"message": "and then?", "stream": "false", "session_id": "of-anna-teams"}
        assert "annas-secret" not in ben.post("/teams/deep-trader-manager/runs", data=form).text
        runs = anna.get("/sessions/of-anna-teams/runs", params={"type": "team"}).text
        assert "annas-secret" in runs
        assert "and then?" not in runs


def test_a_server_that_is_told_to_end_does_so_with_exit_code_0(tmp_path):
    with serving(tmp_path / "data", "--no-model") as server:
        server.process.terminate()
        assert server.process.wait(30) == 0


def test_a_cycle_over_rest_is_a_workflow_run_with_its_report(server):
    run = server.run_cycle()
    assert run["status"] == "COMPLETED"
    assert '"cycle_id"' in str(run)


def test_only_rows_that_differ_are_sent(tmp_path):
    chosen = load_settings(data_dir=tmp_path, market="simulated", top=4, intervals=("1d",))
    with Runtime(chosen, as_of=NOW) as runtime:
        board = Board(runtime, max_age=0, timer=lambda: 0.0)
        empty = board.read("1d")
        assert empty.rows == {}
        runtime.engine.run_once()
        full = board.read("1d")
        changed, gone = changes(empty, full)
        assert len(changed) == 4
        assert gone == []
        assert changes(full, board.read("1d")) == ([], [])
        assert changes(full, empty) == ([], list(full.rows))
        assert {row["evidence_text"] for row in full.rows.values()} - {"–"}
        row = next(iter(full.rows.values()))
        assert row["market_cap_text"].endswith("illion")
        assert row["freshness"] == "fresh"
        assert row["bar_close"] == datetime(2026, 3, 2, tzinfo=UTC).timestamp()


def test_a_host_that_others_can_reach_is_refused_without_a_token(capsys, tmp_path):
    from deeptrader.cli.main import main

    with pytest.raises(SystemExit) as stop:
        main(["playground", "--host", "0.0.0.0", "--data-dir", str(tmp_path)])
    assert stop.value.code == 2
    assert "--token" in capsys.readouterr().err


def test_without_the_extra_the_command_says_what_to_install(capsys, tmp_path, monkeypatch):
    from deeptrader.cli.main import main

    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "nicegui" else object())
    with pytest.raises(SystemExit) as stop:
        main(["playground", "--data-dir", str(tmp_path), "--market", "simulated"])
    assert stop.value.code == 2
    assert "deeptrader[playground]" in " ".join(capsys.readouterr().err.split())
