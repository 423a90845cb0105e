"""Ask the questions, arm by arm, and write one line of JSON for each answer; a run that stopped can go on."""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from itertools import groupby, product
from pathlib import Path
from typing import Any

from .arms import RIVALS, Arm, Options, Reply
from .model import SCRIPTED, build_model
from .questions import KINDS, Question, all_questions, spread
from .report import write_report
from .reworded import reworded_questions
from .scoring import score
from .team_arms import OURS

ARMS: dict[str, Callable[[Options], Arm]] = RIVALS | OURS


@dataclass(frozen=True)
class Caps:
    """When a run stops by itself: after so many seconds or questions in all."""

    seconds: float = float("inf")
    questions: float = float("inf")


def main(arguments: Sequence[str] | None = None) -> None:
    options = _parser().parse_args(arguments)
    logging.disable(logging.WARNING)
    folder = Path(options.out)
    folder.mkdir(parents=True, exist_ok=True)
    if not options.report_only:
        model = options.model

        def make() -> Any:
            return build_model(model, base_url=options.base_url, api_key=options.api_key, seconds=options.seconds)

        questions = [
            q
            for q in (reworded_questions() if options.reworded else all_questions())
            if q.kind in (options.kinds or KINDS) and options.market in (None, q.context.market)
        ]
        asyncio.run(
            run(
                options.arms,
                spread(questions, options.limit),
                Options(make, options.seconds),
                folder,
                label=model,
                resume=options.resume,
                caps=Caps(options.max_seconds, options.max_questions),
            )
        )
    print(write_report(folder))


async def run(
    arms: Sequence[str],
    questions: Sequence[Question],
    options: Options,
    folder: Path,
    *,
    label: str,
    resume: bool = False,
    caps: Caps | None = None,
) -> None:
    """Ask every question in every arm, moment by moment: what stopped early has the same questions in each arm.

    Args:
        arms: names out of `ARMS`.
        questions: asked at one moment by tokens, so that a prompt cache is of use.
        options: how to make a model, and how long one answer may take.
        folder: where each arm has its file of results.
        label: what the model is called in the results.
        resume: keep the answers that are there, and ask only the others. Errors and time-outs count as answers.
        caps: when to stop before the end.
    """
    caps = caps or Caps()
    begun, asked = time.monotonic(), 0
    built: dict[str, Arm] = {}
    done: dict[str, set[str]] = {}
    told = dict.fromkeys(arms, 0)
    for name in arms:
        path = folder / f"{name}.jsonl"
        done[name] = {row["id"] for row in _rows(path) if row["type"] == "answer"} if resume else set()
        if not resume:
            path.unlink(missing_ok=True)
        built[name] = ARMS[name](options)
    try:
        for _, group in groupby(sorted(questions, key=_order), key=lambda question: question.context.id):
            for name, question in product(arms, list(group)):
                if question.id in done[name]:
                    continue
                if time.monotonic() - begun > caps.seconds or asked >= caps.questions:
                    print(f"{name}: stopped by a cap; go on with --resume", flush=True)
                    return
                arm = built[name]
                reply = await arm.answer(question)
                rows = [{"type": "sleep", "arm": name, **asdict(slept)} for slept in arm.slept[told[name] :]]
                told[name] = len(arm.slept)
                rows.append(result(name, label, question, reply))
                with (folder / f"{name}.jsonl").open("a", encoding="utf-8") as file:
                    file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
                asked += 1
                last = rows[-1]
                print(
                    f"{name} {question.id}: {last['verdict']} ({last['input_tokens']}+{last['output_tokens']} tokens, "
                    f"{reply.seconds:.1f} s)",
                    flush=True,
                )
    finally:
        for arm in built.values():
            arm.close()


def result(arm: str, model: str, question: Question, reply: Reply) -> dict[str, Any]:
    """One answer as a row: what was asked, said and true, the verdict, and the cost."""
    if reply.status == "ok":
        scored = score(reply.text, question.truth, question.context.tokens, old=question.old_truth)
        verdict, read, on_line = scored.verdict, scored.read, scored.on_line
    else:
        verdict, read, on_line = reply.status, "", False
    return {
        "type": "answer",
        "arm": arm,
        "model": model,
        "scripted": model == SCRIPTED,
        "id": question.id,
        "context": question.context.id,
        "kind": question.kind,
        "template": question.template,
        "question": question.text,
        "tokens": list(question.tokens),
        "expected": _expected(question),
        "verdict": verdict,
        "read": read,
        "on_line": on_line,
        "reply": reply.text,
        "by_code": reply.by_code,
        "error": reply.error,
        "input_tokens": reply.input_tokens,
        "output_tokens": reply.output_tokens,
        "cached_tokens": reply.cached,
        "calls": reply.calls,
        "tools": reply.tools,
        "seconds": round(reply.seconds, 3),
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _expected(question: Question) -> Any:
    truth = question.truth
    if truth.type == "number":
        return [float(f"{value:.6g}") for value in dict.fromkeys(truth.values)]
    return truth.yes if truth.type == "bool" else "UNKNOWN" if truth.type == "unknown" else list(truth.names)


def _order(question: Question) -> tuple[Any, ...]:
    return question.context.id, question.asked_at, sorted(question.tokens), question.id


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    if path.exists():
        with path.open(encoding="utf-8") as file:
            yield from (json.loads(line) for line in file if line.strip())


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.market_qa", description=__doc__)
    parser.add_argument(
        "--model", default=SCRIPTED, help="openai-like:NAME, scripted (the plumbing only), or an agno name"
    )
    parser.add_argument("--base-url", default="", help="of an OpenAI-compatible server, with /v1")
    parser.add_argument("--api-key", default="")
    parser.add_argument(
        "--arms", nargs="+", choices=list(ARMS), default=["lines", "tools", "tools-called", "raw", "team", "memory"]
    )
    parser.add_argument("--kinds", nargs="+", choices=KINDS)
    parser.add_argument("--market", choices=("recorded", "simulated"), help="only the moments of one market")
    parser.add_argument("--reworded", action="store_true", help="forty questions in words nobody foresaw, instead")
    parser.add_argument("--limit", type=int, help="at most so many questions an arm, spread over kinds and moments")
    parser.add_argument("--out", default="market-qa", help="folder of results and report")
    parser.add_argument("--resume", action="store_true", help="ask only what is not yet in the results")
    parser.add_argument("--report-only", action="store_true", help="no question, only the report of what is there")
    parser.add_argument("--seconds", type=float, default=180, help="limit of one question")
    parser.add_argument("--max-seconds", type=float, default=float("inf"), help="limit of the whole run")
    parser.add_argument("--max-questions", type=float, default=float("inf"), help="limit of the whole run")
    return parser
