"""What the page shows of a run: answers as safe HTML, sources, steps, errors as sentences."""

from __future__ import annotations

from datetime import UTC, datetime
from html.parser import HTMLParser

import pytest
from agno.agent import Agent
from agno.db.sqlite import SqliteDb
from agno.team import Team
from doubles.scripted_model import ScriptedModel, call
from hypothesis import given
from hypothesis import strategies as st

from deeptrader.agents.runs import METADATA
from deeptrader.core.prices import ModelPrice, PriceList
from deeptrader.playground.turns import Turn, apply, explain, to_html, turns_of

BRIEF = "BTC-USD (Bitcoin), daily bar closed 2026-03-02 00:00 UTC:\n- RSI(14) is 41.0, between 30 and 70."
PUSHED = {"did": "injected", "tool": "push", "topic": "state", "tokens": {"BTC-USD": "fresh"}}


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


def a_turn(answer: dict, push: dict = PUSHED, **notes) -> Turn:
    turn = Turn("r1", "How is it?", datetime.now(UTC))
    turn.learn({METADATA: {"answer": answer, "push": push, "brief": BRIEF} | notes})
    turn.finish("done")
    return turn


@pytest.mark.parametrize(
    ("answer", "push", "said"),
    [
        ({"by": "model", "from_memory": True}, PUSHED, [("from memory", "good")]),
        ({"by": "code", "why": "late", "from_memory": True}, PUSHED, [("from memory", "good"), ("computed", "plain")]),
        ({"by": "model", "not_in_memory": ["987.6"]}, PUSHED, [("1 number not in memory", "warn")]),
        ({"by": "model"}, PUSHED, [("partly from memory", "warn")]),
        ({"by": "model"}, PUSHED | {"tokens": {"BTC-USD": "stale"}}, [("not in memory", "hollow")]),
        ({"by": "model", "from_memory": True}, {"topic": "not_held", "tokens": {}}, [("not in memory", "hollow")]),
    ],
)
def test_a_badge_says_where_the_answer_comes_from(answer, push, said):
    assert [(badge["text"], badge["tone"]) for badge in a_turn(answer, push).view()["badges"]] == said


def test_a_computed_answer_says_why_code_wrote_it():
    badges = a_turn({"by": "code", "why": "late", "from_memory": True}).view()["badges"]

    assert "took too long" in badges[1]["title"]


def test_what_was_pushed_is_a_step_and_its_tokens_are_the_sources():
    view = a_turn({"by": "model", "from_memory": True}).view()

    assert view["steps"][0]["result"] == BRIEF
    (source,) = view["sources"]
    assert (source["href"], source["freshness"]) == ("/token/BTC-USD", "fresh")
    assert source["text"] == "daily bar closed 2026-03-02 00:00 UTC"


def test_an_answer_tells_its_cost_where_the_price_is_known():
    turn = a_turn({"by": "model"})
    turn.model, turn.provider, turn.counted = "small", "Local", True
    turn.input_tokens, turn.output_tokens = 1_000_000, 0

    assert turn.view()["usd"] is None
    assert turn.view(PriceList({"local:small": ModelPrice(input=0.5, output=1)}))["usd"] == 0.5


@pytest.mark.parametrize(
    ("message", "kind", "said"),
    [
        ("Connection refused", "ConnectError", "The model did not answer"),
        ("Request timed out.", "APITimeoutError", "The model did not answer"),
        ("429 Too many requests", "", "asks to slow down"),
        ("Incorrect API key provided", "AuthenticationError", "refused the key"),
        ("list index out of range", "IndexError", "The answer failed"),
        ("", "", "The answer failed: no reason was given"),
        ('<!DOCTYPE HTML>\n<html lang="en"><h1>Error 500</h1></html>', "", "The answer failed: Error 500."),
    ],
)
def test_an_error_is_a_sentence_and_says_what_to_do(message, kind, said):
    sentence, hint = explain(message, kind)
    assert said in sentence
    assert hint.endswith(".")


def a_team(db: SqliteDb) -> Team:
    def sleep_mode(question: str = "") -> str:
        """Read memory."""
        return BRIEF

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
    for part in ("id", "question", "state", "html", "sources", "badges", "tokens", "doing", "error"):
        assert read[part] == shown[part], part
    assert [(s["title"], s["by"], s["state"]) for s in read["steps"]] == [
        (s["title"], s["by"], s["state"]) for s in shown["steps"]
    ]
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


async def test_a_run_that_is_stopped_before_its_first_word_is_a_stopped_turn_live_and_read_back(tmp_path):
    team = a_team(SqliteDb(db_file=str(tmp_path / "s.db")))
    live = Turn("r1", "Well?", datetime.now(UTC))
    await team.acancel_run("r1")
    async for event in team.arun("Well?", stream=True, stream_events=True, session_id="s1", run_id="r1"):
        apply(live, event)
    session = team.get_session(session_id="s1")
    assert session is not None
    (stored,) = turns_of(session.runs or ())
    for turn in (live, stored):
        assert turn.state == "stopped"
        assert turn.answer == ""
