"""The market questions: their truth, their scoring, and the plumbing from question to report with a scripted model."""

from __future__ import annotations

import asyncio
import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from agno.models.message import Message
from openai.types.chat import ChatCompletion

from benchmarks.market_qa.arms import Options, five_lines, raw_bars, tool_replies
from benchmarks.market_qa.model import FencedToolCalls, scripted
from benchmarks.market_qa.questions import KINDS, Question, all_questions, spread
from benchmarks.market_qa.report import Row, break_even, difference, is_scripted, load, report, wilson, write_report
from benchmarks.market_qa.reworded import reworded_questions
from benchmarks.market_qa.run import Caps, run
from benchmarks.market_qa.scoring import score
from benchmarks.market_qa.templates import Truth
from deeptrader.toolkits.market_data import compute_indicators

QUESTIONS = all_questions()


def right_reply(truth: Truth) -> str:
    """What somebody who knows would say."""
    if truth.type == "number":
        return f"It is {truth.values[0]:.6g}.\nANSWER: {truth.values[0]:.6g}"
    if truth.type == "bool":
        return f"Let me see.\nANSWER: {'yes' if truth.yes else 'no'}"
    return "ANSWER: UNKNOWN" if truth.type == "unknown" else "ANSWER: " + (", ".join(truth.names) or "none")


def test_there_are_enough_questions_of_every_kind_at_ten_moments_and_more() -> None:
    assert len(QUESTIONS) >= 120
    assert len({question.id for question in QUESTIONS}) == len(QUESTIONS)
    kinds = Counter(question.kind for question in QUESTIONS)
    assert set(kinds) == set(KINDS)
    assert min(kinds.values()) >= 10
    assert len({q.context.id for q in QUESTIONS if q.context.market == "recorded"}) == 10
    assert {q.context.market for q in QUESTIONS} == {"recorded", "simulated"}
    yes = Counter(q.truth.yes for q in QUESTIONS if q.kind == "yes-no")
    assert abs(yes[True] - yes[False]) <= 2


def test_questions_are_the_same_every_time() -> None:
    assert all_questions() == QUESTIONS


def test_the_right_reply_is_right_and_ignorance_is_right_only_where_nobody_knows() -> None:
    for question in QUESTIONS:
        symbols = question.context.tokens
        assert score(right_reply(question.truth), question.truth, symbols).right, question.id
        told = score("I do not know.\nANSWER: UNKNOWN", question.truth, symbols)
        assert told.verdict == ("right" if question.kind == "unanswerable" else "refused")


def test_the_second_of_a_stale_pair_is_asked_after_a_bar_that_memory_has_not_seen() -> None:
    later = [question for question in QUESTIONS if question.id.endswith(":stale:b")]
    assert {question.old_truth is None for question in later} == {True, False}
    for question in later:
        assert question.slept_at < question.asked_at
        if question.old_truth is not None:
            reply = right_reply(question.old_truth)
            assert score(reply, question.truth, question.context.tokens, old=question.old_truth).verdict == "stale", (
                question.id
            )


def test_truth_sees_no_later_bar_and_agrees_with_the_figures_of_the_package() -> None:
    context = QUESTIONS[0].context
    for symbol, facts in context.facts(context.moment).items():
        assert facts.bars.index[-1] <= context.moment
        figures = compute_indicators(facts.bars, interval="1d", kind="equity")
        assert figures["rsi_14"].value == pytest.approx(facts.rsi, abs=0.2), symbol
        assert figures["atr_14"].value == pytest.approx(facts.atr, rel=0.01)
        assert figures["bb_lower_20_2"].value == pytest.approx(facts.lower[0], rel=1e-6)


NUMBER = Truth("number", (-3.1,), 0.06)
NO = Truth("bool", yes=False)
ONE = Truth("token", names=("AAPL",))
TWO = Truth("list", names=("AAPL", "IBM"))
NONE = Truth("list")


@pytest.mark.parametrize(
    ("reply", "truth", "verdict"),
    [
        ("ANSWER: -3.1", NUMBER, "right"),
        ("IBM lost 3.1 %.\n**ANSWER: -3.10 %**", NUMBER, "right"),
        ("IBM fell by 3.10 percent on 2001-09-21.", NUMBER, "right"),
        ("It lost, in percent:\n3.10", NUMBER, "right"),
        ("It lost. ANSWER: 3.1", NUMBER, "wrong"),
        ("RSI(14) is 27.4 and the move -3.1", NUMBER, "right"),
        ("ANSWER: <-3.1>", NUMBER, "right"),
        ("1. First\nANSWER: -3.1\nANSWER: -9", NUMBER, "wrong"),
        ("ANSWER: UNKNOWN", NUMBER, "refused"),
        ("ANSWER: soon", NUMBER, "unread"),
        ("  \n", NUMBER, "empty"),
        ("No.", NO, "right"),
        ("ANSWER: Yes", NO, "wrong"),
        ("It is hot.", NO, "unread"),
        ("Apple has a higher RSI than IBM.", ONE, "right"),
        ("ANSWER: Apple (AAPL)", ONE, "right"),
        ("ANSWER: AAPL, IBM", ONE, "wrong"),
        ("ANSWER: IBM and Apple", TWO, "right"),
        ("ANSWER: AAPL", TWO, "wrong"),
        ("None of them.", NONE, "right"),
        ("ANSWER: IBM", NONE, "wrong"),
        ("The P/E is 15.2.", Truth("unknown"), "invented"),
        ("ANSWER: 15.2, but that is not known", Truth("unknown"), "invented"),
        ("Memory holds no dividends.", Truth("unknown"), "right"),
        ("AAPL is not oversold.", Truth("bool", yes=False, word="oversold"), "right"),
        ("AAPL is oversold.", Truth("bool", yes=False, word="oversold"), "wrong"),
        ("The close 5 is above it.", Truth("bool", yes=False, word="below"), "right"),
        ("AAPL is not trading above it: it is 2 % below it.", Truth("bool", yes=False, word="above"), "right"),
        ("Yes: it is not below it.", Truth("bool", yes=True, word="below"), "right"),
        ("The RSI is 50.", Truth("bool", yes=False, word="oversold"), "unread"),
        ("14.1 million", Truth("number", (14_141_400.0,), 141_414.0), "right"),
    ],
)
def test_scoring(reply: str, truth: Truth, verdict: str) -> None:
    assert score(reply, truth, ("AAPL", "IBM")).verdict == verdict


def test_rivals_are_shown_every_token_of_the_question_and_nothing_later() -> None:
    for question in (q for q in QUESTIONS if q.kind in ("compare", "best", "stale")):
        lines, bars = five_lines(question), raw_bars(question)
        day = question.context.facts(question.asked_at)[question.tokens[0]].day
        assert len([line for line in lines.splitlines() if line]) == 5 * len(question.tokens)
        assert f" on {day};" in lines
        assert tool_replies(question).count('"rsi_14"') == len(question.tokens)
        assert bars.splitlines()[-1].startswith(day)
        assert all(symbol in bars for symbol in question.tokens)


def completion(text: str) -> ChatCompletion:
    message = {"role": "assistant", "content": text}
    choice = {"index": 0, "finish_reason": "stop", "message": message}
    return ChatCompletion.model_validate(
        {"id": "1", "created": 0, "model": "m", "object": "chat.completion", "choices": [choice]}
    )


@pytest.mark.parametrize(
    "text",
    [
        '```json\n{"name": "get_indicators", "arguments": {"symbol": "AAPL"}}\n```',
        '<tool_call>\n{"name": "get_indicators", "arguments": {"symbol": "AAPL"}}\n</tool_call>',
        '{"name": "get_indicators", "arguments": "{\\"symbol\\": \\"AAPL\\"}"}',
    ],
)
def test_tool_calls_written_as_text_become_tool_calls(text: str) -> None:
    model = FencedToolCalls(id="m", offered=frozenset({"get_indicators"}))
    parsed = model._parse_provider_response(completion(text))
    assert [call["function"]["name"] for call in parsed.tool_calls] == ["get_indicators"]
    assert json.loads(parsed.tool_calls[0]["function"]["arguments"]) == {"symbol": "AAPL"}
    assert parsed.content == ""
    nothing_offered = FencedToolCalls(id="m")._parse_provider_response(completion(text))
    assert nothing_offered.content == text
    result = model._format_message(Message(role="tool", content="27.4", tool_name="get_indicators", tool_call_id="1"))
    assert result == {"role": "user", "content": "Result of get_indicators:\n27.4"}


def ask_all(folder: Path, arms: list[str], questions: list[Question], **options: object) -> None:
    asyncio.run(run(arms, questions, Options(scripted, 30), folder, label="scripted", **options))  # type: ignore[arg-type]


def test_from_question_to_report_with_a_scripted_model(tmp_path: Path) -> None:
    arms = ["lines", "tools", "team", "memory", "team-no-push", "team-served"]
    questions = spread([q for q in QUESTIONS if q.context.id == "2013-01-25"], 4)
    ask_all(tmp_path, ["lines", "tools"], questions, caps=Caps(questions=6))
    answers, _ = load(tmp_path)
    assert {arm: len(rows) for arm, rows in answers.items()} == {"lines": 4, "tools": 2}
    asked = {arm: [row["id"] for row in rows] for arm, rows in answers.items()}
    assert asked["tools"] == asked["lines"][:2]
    ask_all(tmp_path, arms, questions, resume=True)
    answers, sleeps = load(tmp_path)
    assert {arm: len(rows) for arm, rows in answers.items()} == dict.fromkeys(arms, 4)
    assert max(row["input_tokens"] for row in answers["team-no-push"]) > max(
        row["input_tokens"] for row in answers["team"]
    )
    assert all(row["calls"] == 2 and row["tools"] == ["get_indicators"] for row in answers["tools"])
    assert all(row["verdict"] not in ("error", "timeout") for rows in answers.values() for row in rows)
    assert sum(row["input_tokens"] for row in answers["memory"]) == 0
    served = [row for row in answers["team-served"] if row["by_code"] == "served"]
    assert served
    assert all((row["calls"], row["input_tokens"]) == (0, 0) for row in served)
    assert [row["model_tokens"] for row in sleeps["team"]] == [0]
    text = write_report(tmp_path)
    assert "SCRIPTED" in text
    assert "team - lines" in text
    missed = [row for row in answers["team"] if row["verdict"] != "right"]
    assert missed
    assert all(f"| team | {row['question']} |" in text for row in missed)
    assert (tmp_path / "accuracy.png").stat().st_size > 5_000


def test_a_difference_is_drawn_over_whole_moments() -> None:
    def row(context: str, number: int, verdict: str) -> dict[str, object]:
        return {"id": f"{context}{number}", "context": context, "verdict": verdict}

    ahead = [(row(c, n, "right"), row(c, n, "wrong")) for c in "abc" for n in range(4)]
    assert difference(ahead) == (1.0, 1.0, 1.0)
    mixed = ahead + [(row("d", n, "wrong"), row("d", n, "right")) for n in range(4)]
    middle, low, high = difference(mixed)
    assert middle == 0.5
    assert low < 0.5 < high == 1.0
    assert break_even(0, 300, 400) == "from the first question"
    assert break_even(500, 300, 400) == "5.0 questions"
    assert break_even(0, 400, 300) == "never"


def test_the_reworded_questions_are_forty_of_the_same_kinds_and_each_has_a_truth():
    asked = reworded_questions()
    assert len({question.id for question in asked}) == len(asked) == 40
    assert {question.kind for question in asked} == set(KINDS) - {"stale"}
    assert all(question.text and question.tokens for question in asked)
    texts = {question.text for question in all_questions()}
    assert not texts & {question.text for question in asked}


def test_a_report_says_what_was_missed_by_whom_and_what_code_answered():
    row: dict[str, Any] = dict.fromkeys(("input_tokens", "output_tokens", "cached_tokens", "calls", "seconds"), 1)
    row |= {"id": "1", "context": "a", "kind": "look-up", "model": "m", "question": "What?", "expected": 5.0}
    row |= {"tools": [], "tokens": ["A"], "on_line": True, "scripted": False, "by_code": "", "error": "", "reply": "5"}
    asked: dict[str, list[Row]] = {
        "memory": [row | {"verdict": "right"}],
        "team": [row | {"verdict": "wrong", "reply": "6 | 7"}],
        "team-served": [row | {"verdict": "right", "by_code": "served"}],
    }

    text = report(asked, {})

    assert "| team | What? | 5.0 | wrong | the model: memory has it | 6 / 7 |" in text
    assert "| 1 served |" in text


def test_an_interval_is_wide_for_few_answers_and_none_of_a_kind():
    low, high = wilson(0, 3)
    assert (low, round(high, 2)) == (0.0, 0.56)
    assert [round(edge, 3) for edge in wilson(50, 100)] == [0.404, 0.596]


def test_an_arm_that_calls_no_model_makes_no_report_a_scripted_one():
    row = {"scripted": True, "calls": 0}
    assert not is_scripted({"memory": [row]})
    assert is_scripted({"memory": [row], "team": [row | {"calls": 1}]})
