"""What the page shows of a run: answers as safe HTML, sources, steps, errors as sentences."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from html.parser import HTMLParser

import pytest
from agno.agent import Agent
from agno.db.sqlite import SqliteDb
from agno.team import Team
from doubles.scripted_model import ScriptedModel, call
from hypothesis import given
from hypothesis import strategies as st

from deeptrader.playground.markdown import to_html
from deeptrader.playground.sources import sources_in
from deeptrader.playground.troubles import explain
from deeptrader.playground.turns import Turn, apply, turns_of

RECORD = {
    "symbol": "BTC-USD",
    "interval": "1d",
    "freshness": "fresh",
    "bar_close": "2026-03-02T00:00Z",
    "computed_at": "2026-03-02T00:05:10Z",
}
REPLY = json.dumps({"read_at": "2026-03-02T12:00Z", "next": "answer", "tokens": [RECORD]})


@pytest.mark.parametrize(
    "attack",
    [
        "<script>alert(1)</script>",
        "<img src=x onerror=alert(1)>",
        "[a](javascript:alert(1))",
        "[a](data:text/html,<script>alert(1)</script>)",
        "[a](  JaVaScRiPt:alert(1))",
        "![a](http://elsewhere.example/x.png)",
        "<a href='javascript:alert(1)'>x</a>",
        '[a](https://example.com/ "onmouseover=alert(1)")',
        "`<svg onload=alert(1)>`",
        "|<iframe>|\n|---|\n|<b onclick=x>|",
    ],
)
def test_markdown_lets_no_markup_of_the_text_through(attack):
    for tag, attributes in tags_in(to_html(attack)):
        assert tag in {"p", "a", "code", "table", "thead", "tbody", "tr", "th", "td"}
        assert set(attributes) <= {"href", "title"}
        assert attributes.get("href", "https://").startswith(("https://", "http://"))


class _Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str]]] = []

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, {name: value or "" for name, value in attrs}))


def tags_in(html: str) -> list[tuple[str, dict[str, str]]]:
    """The tags a browser would make of it."""
    parser = _Tags()
    parser.feed(html)
    return parser.found


def test_markdown_still_shows_what_answers_are_written_in():
    html = to_html("**bold**\n\n- one\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\n[page](https://example.com/)")
    for part in ("<strong>bold</strong>", "<li>", "<table>", 'href="https://example.com/"'):
        assert part in html


@given(st.text(max_size=200))
def test_markdown_never_fails_and_never_makes_a_script(text):
    assert not {"script", "img", "iframe", "svg", "style"} & {tag for tag, _ in tags_in(to_html(text))}


def test_sources_are_found_in_a_reply_and_in_a_task_with_memory_written_into_it():
    (source,) = sources_in(REPLY)
    assert (source.symbol, source.freshness) == ("BTC-USD", "fresh")
    assert source.bar_close == datetime(2026, 3, 2, tzinfo=UTC)
    (inside,) = sources_in(f'Look at it. <khala_memory read_at="x">\ndata {{not json\n{REPLY}\n</khala_memory>')
    assert inside == source
    assert source.view()["text"] == "1d bar closed 2026-03-02 00:00, computed 2026-03-02 00:05 UTC"


@pytest.mark.parametrize("text", ["", "{", "{{{{", '{"symbol": 3, "freshness": "fresh"}', "[1, 2]", '{"tokens": [[]]}'])
def test_a_text_without_records_has_no_sources(text):
    assert list(sources_in(text)) == []


@pytest.mark.parametrize(
    ("message", "kind", "said"),
    [
        ("Connection refused", "ConnectError", "The model did not answer"),
        ("Request timed out.", "APITimeoutError", "The model did not answer"),
        ("429 Too many requests", "", "asks to slow down"),
        ("Incorrect API key provided", "AuthenticationError", "refused the key"),
        ("list index out of range", "IndexError", "The answer failed"),
        ("", "", "The answer failed: no reason was given"),
    ],
)
def test_an_error_is_a_sentence_and_says_what_to_do(message, kind, said):
    sentence, hint = explain(message, kind)
    assert said in sentence
    assert hint.endswith(".")


def a_team(db: SqliteDb) -> Team:
    def sleep_mode(question: str = "") -> str:
        """Read memory."""
        return REPLY

    member = Agent(id="market-analyst", name="Analyst", model=ScriptedModel(forever="calm"), db=db, telemetry=False)
    script = [
        call("sleep_mode", question="x"),
        call("delegate_task_to_member", member_id="market-analyst", task="look"),
        "It is **calm**.",
    ]
    return Team([member], id="team", model=ScriptedModel(script), tools=[sleep_mode], db=db, telemetry=False)


async def test_a_turn_read_back_from_its_session_shows_what_was_shown_live(tmp_path):
    team = a_team(SqliteDb(db_file=str(tmp_path / "s.db")))
    live = Turn("r1", "How is it?", datetime.now(UTC))
    async for event in team.arun("How is it?", stream=True, stream_events=True, session_id="s1", run_id="r1"):
        apply(live, event)
    assert live.state == "done"
    session = team.get_session(session_id="s1")
    assert session is not None
    (stored,) = turns_of(session.runs or ())
    shown, read = live.view(), stored.view()
    for part in ("id", "question", "state", "html", "sources", "served", "tokens", "doing", "error"):
        assert read[part] == shown[part], part
    assert [(s["title"], s["by"], s["state"]) for s in read["steps"]] == [
        (s["title"], s["by"], s["state"]) for s in shown["steps"]
    ]
    assert shown["served"] == "served from sleep"
    assert shown["tokens"] == 4 * 15, "three turns of the leader and one of the member"


async def test_a_failed_run_is_a_failed_turn_live_and_read_back(tmp_path):
    db = SqliteDb(db_file=str(tmp_path / "s.db"))
    agent = Agent(id="a", model=ScriptedModel([ConnectionError("refused")]), db=db, telemetry=False)
    live = Turn("r1", "Well?", datetime.now(UTC))
    async for event in agent.arun("Well?", stream=True, stream_events=True, session_id="s1", run_id="r1"):
        apply(live, event)
    session = agent.get_session(session_id="s1")
    assert session is not None
    (stored,) = turns_of(session.runs or ())
    for turn in (live, stored):
        assert turn.state == "failed"
        assert turn.error == "The model did not answer: refused."
