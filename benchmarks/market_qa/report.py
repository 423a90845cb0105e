"""What the results say: accuracy by kind, cost, what several questions on one moment cost, and how sure that is."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import mean, median
from typing import Any

import numpy as np

from .questions import KINDS, Question, all_questions
from .reworded import reworded_questions
from .scoring import score

RESAMPLES = 10_000
SEED = 15
REPLY_SHOWN = 160
"""So many characters of a reply that is wrong stand in the report: its end, where the answer is."""
QUESTION_COUNTS = (1, 2, 5, 10)
RIVAL_ARMS = ("lines", "tools", "tools-called", "raw")
WHY = ("right", "wrong", "unread", "refused", "invented", "stale", "empty", "error", "timeout")

Row = Mapping[str, Any]


def write_report(folder: Path) -> str:
    """Read all results of a folder, write `report.md` and `accuracy.png` beside them, and return the report's text."""
    answers, sleeps = load(folder)
    text = report(answers, sleeps)
    (folder / "report.md").write_text(text, encoding="utf-8")
    if answers:
        plot(answers, folder / "accuracy.png")
    return text


def load(folder: Path) -> tuple[dict[str, list[Row]], dict[str, list[Row]]]:
    """Answers and sleeps by arm. Answers are scored anew, so that one rule holds for all of them whenever they came."""
    asked = {question.id: question for question in (*all_questions(), *reworded_questions())}
    answers: dict[str, list[Row]] = {}
    sleeps: dict[str, list[Row]] = defaultdict(list)
    for path in sorted(folder.glob("*.jsonl")):
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
        for row in rows:
            if row["type"] == "answer":
                answers.setdefault(row["arm"], []).append(row | _scored(row, asked))
            else:
                sleeps[row["arm"]].append(row)
    return answers, sleeps


def _scored(row: Row, asked: Mapping[str, Question]) -> dict[str, Any]:
    question = asked.get(row["id"])
    if row["error"] or question is None or question.text != row["question"]:
        return {}
    scored = score(row["reply"], question.truth, question.context.tokens, old=question.old_truth)
    return {"verdict": scored.verdict, "read": scored.read, "on_line": scored.on_line}


def report(answers: Mapping[str, list[Row]], sleeps: Mapping[str, list[Row]]) -> str:
    """The report as Markdown."""
    if not answers:
        return "No results.\n"
    models = sorted({row["model"] for rows in answers.values() for row in rows if row["calls"]} or {"none"})
    parts = ["# Market questions", f"Model: {', '.join(models)}."]
    if is_scripted(answers):
        parts.append("**SCRIPTED: these figures prove the plumbing only. They say nothing about any model.**")
    parts += [
        "## Right answers by kind\n\n" + _by_kind(answers),
        "## Why\n\n" + _why(answers),
        "## Cost of a question (mean; seconds: median)\n\n" + _cost(answers),
        "## Model tokens, in and out, for several questions on one moment\n\n" + _several(answers, sleeps),
        "## Missed by the arms with a memory\n\n" + _missed(answers),
        "## Differences, on the questions both arms were asked\n\n" + _differences(answers, sleeps),
    ]
    return "\n\n".join(parts) + "\n"


def is_scripted(answers: Mapping[str, list[Row]]) -> bool:
    """Whether a scripted model was called. An arm that calls none is what it is with any model."""
    return any(row["scripted"] and row["calls"] for rows in answers.values() for row in rows)


def right(row: Row) -> bool:
    return row["verdict"] == "right"


def spent(row: Row) -> int:
    return row["input_tokens"] + row["output_tokens"]


def _by_kind(answers: Mapping[str, list[Row]]) -> str:
    rows = []
    for arm, listed in answers.items():
        cells = []
        for kind in KINDS:
            some = [row for row in listed if row["kind"] == kind]
            cells.append(f"{sum(map(right, some))}/{len(some)}" if some else "")
        rows.append(
            [arm, f"{sum(map(right, listed))}/{len(listed)}", f"{100 * mean(map(right, listed)):.0f} %", *cells]
        )
    return table(["arm", "right", "share", *KINDS], rows)


def _why(answers: Mapping[str, list[Row]]) -> str:
    rows = []
    for arm, listed in answers.items():
        counted = Counter(row["verdict"] for row in listed)
        line = 100 * mean(row["on_line"] for row in listed)
        code = Counter(row["by_code"] for row in listed if row.get("by_code"))
        told = ", ".join(f"{count} {why}" for why, count in code.most_common())
        rows.append([arm, *(str(counted[why] or "") for why in WHY), f"{line:.0f} %", told])
    note = "\n\nBy code: answers that code gave from memory in the model's place, and why (`served`: it was not asked)."
    return table(["arm", *WHY, "with an answer line", "by code"], rows) + note


def _missed(answers: Mapping[str, list[Row]]) -> str:
    """Each answer of an arm with a memory that is not right, and whether memory alone had it."""
    alone = {row["id"]: right(row) for row in answers.get("memory", ())}
    rows = []
    for arm, listed in answers.items():
        for row in listed:
            if arm in RIVAL_ARMS or arm == "memory" or right(row):
                continue
            held = alone.get(row["id"])
            where = "" if held is None else "the model: memory has it" if held else "memory: it does not have it"
            said = " ".join(row["reply"].split()).replace("|", "/")
            if len(said) > REPLY_SHOWN:
                said = "... " + said[-REPLY_SHOWN:]
            wanted = ", ".join(map(str, row["expected"])) if isinstance(row["expected"], list) else str(row["expected"])
            rows.append([arm, row["question"], wanted or "none", row["verdict"], where, said or row["error"]])
    return table(["arm", "question", "right is", "verdict", "missed by", "said"], rows) if rows else "Nothing."


def _cost(answers: Mapping[str, list[Row]]) -> str:
    rows = []
    for arm, listed in answers.items():
        tokens = sum(map(spent, listed))
        good = sum(map(right, listed))
        single = [row["input_tokens"] for row in listed if len(row["tokens"]) == 1]
        rows.append(
            [
                arm,
                str(len(listed)),
                f"{mean(row['input_tokens'] for row in listed):,.0f}",
                f"{mean(single):,.0f}, at most {max(single):,}" if single else "",
                f"{mean(row['cached_tokens'] for row in listed):,.0f}",
                f"{mean(row['output_tokens'] for row in listed):,.0f}",
                f"{mean(row['calls'] for row in listed):.2f}",
                f"{mean(len(row['tools']) for row in listed):.2f}",
                f"{median(row['seconds'] for row in listed):.1f}",
                f"{tokens / good:,.0f}" if good else "no right answer",
            ]
        )
    header = "arm|n|input|input, one token|of it cached|output|model calls|tool calls|seconds|tokens a right answer"
    return table(header.split("|"), rows)


def _several(answers: Mapping[str, list[Row]], sleeps: Mapping[str, list[Row]]) -> str:
    rows = []
    for arm, listed in answers.items():
        asleep, each = tokens_asleep(sleeps.get(arm, ())), mean(map(spent, listed))
        rows.append([arm, f"{asleep:,.0f}", *(f"{asleep + count * each:,.0f}" for count in QUESTION_COUNTS)])
    header = ["arm", "asleep", *(f"{count} question{'s' * (count > 1)}" for count in QUESTION_COUNTS)]
    seconds = [row["seconds"] for listed in sleeps.values() for row in listed]
    note = (
        f"\n\nOne sleep took {mean(seconds):.1f} s of this machine on average. Without a sleeping model it costs no "
        "model token."
        if seconds
        else ""
    )
    return table(header, rows) + note


def _differences(answers: Mapping[str, list[Row]], sleeps: Mapping[str, list[Row]]) -> str:
    rows = []
    for ours in answers:
        for rival in RIVAL_ARMS:
            if ours in RIVAL_ARMS and (rival not in answers or RIVAL_ARMS.index(ours) >= RIVAL_ARMS.index(rival)):
                continue
            pairs = paired(answers[ours], answers.get(rival, []))
            if ours == rival or not pairs:
                continue
            middle, low, high = difference(pairs)
            here, there = (mean(spent(pair[side]) for pair in pairs) for side in (0, 1))
            good = [sum(right(pair[side]) for pair in pairs) for side in (0, 1)]
            each = [
                f"{tokens * len(pairs) / count:,.0f}" if count else "none right"
                for tokens, count in zip((here, there), good, strict=True)
            ]
            rows.append(
                [
                    f"{ours} - {rival}",
                    str(len(pairs)),
                    f"{100 * middle:+.0f} points",
                    f"{100 * low:+.0f} to {100 * high:+.0f}",
                    f"{here:,.0f} against {there:,.0f}",
                    " against ".join(each),
                    break_even(tokens_asleep(sleeps.get(ours, ())), here, there),
                ]
            )
    if not rows:
        return "Nothing to compare yet."
    note = (
        f"\n\nInterval: 95 %, paired bootstrap with {RESAMPLES:,} resamples of whole moments. Break-even: questions on "
        "one moment after which the first arm, its sleep included, has cost fewer model tokens than the second."
    )
    header = ["arms", "n", "right", "interval", "tokens a question", "tokens a right answer", "break-even"]
    return table(header, rows) + note


def paired(ours: Iterable[Row], theirs: Iterable[Row]) -> list[tuple[Row, Row]]:
    """The answers of two arms to the same questions."""
    other = {row["id"]: row for row in theirs}
    return [(row, other[row["id"]]) for row in ours if row["id"] in other]


def difference(pairs: Sequence[tuple[Row, Row]]) -> tuple[float, float, float]:
    """Difference of the shares of right answers, and its 95 % interval: whole moments are drawn with replacement, since
    questions on one moment stand or fall together."""
    moments = sorted({one["context"] for one, _ in pairs})
    sums = np.array(
        [[sum(right(a) - right(b) for a, b in pairs if a["context"] == moment)] for moment in moments], dtype=float
    )[:, 0]
    counts = np.array([sum(one["context"] == moment for one, _ in pairs) for moment in moments], dtype=float)
    drawn = np.random.default_rng(SEED).integers(0, len(moments), size=(RESAMPLES, len(moments)))
    shares = sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1)
    low, high = np.percentile(shares, [2.5, 97.5])
    return float(sums.sum() / counts.sum()), float(low), float(high)


def tokens_asleep(sleeps: Iterable[Row]) -> float:
    """Model tokens of one sleep, on average."""
    spent_asleep = [row["model_tokens"] for row in sleeps]
    return mean(spent_asleep) if spent_asleep else 0.0


def break_even(asleep: float, here: float, there: float) -> str:
    """After how many questions on one moment the first arm has cost less."""
    if here >= there:
        return "never"
    return "from the first question" if asleep == 0 else f"{asleep / (there - here):.1f} questions"


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [header, ["---", *("---:" for _ in header[1:])], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def plot(answers: Mapping[str, list[Row]], path: Path) -> None:
    """Right answers of each arm with the 95 % interval of the share (Wilson), the arm that reads most on top."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    tokens = {arm: mean(row["input_tokens"] for row in listed) for arm, listed in answers.items()}
    order = sorted(answers, key=lambda arm: tokens[arm])
    figure, axes = plt.subplots(figsize=(8, 1.6 + 0.36 * len(order)))
    for place, arm in enumerate(order):
        good, count = sum(map(right, answers[arm])), len(answers[arm])
        share, (low, high) = good / count, wilson(good, count)
        colour = "tab:gray" if arm in RIVAL_ARMS else "tab:blue"
        reach = [[100 * (share - low)], [100 * (high - share)]]
        axes.errorbar(100 * share, place, xerr=reach, fmt="o", capsize=3, color=colour)
        axes.annotate(f"{good} of {count}", (102, place), va="center", color=colour)
    axes.set_yticks(range(len(order)), [f"{arm}, {tokens[arm]:,.0f}" for arm in order])
    axes.set_xlim(-2, 116)
    axes.set_ylim(-0.6, len(order) - 0.4)
    axes.set_xticks(range(0, 101, 20))
    axes.set_xlabel("right answers, percent, with 95 % interval (blue: DeepTrader, grey: rivals)")
    axes.set_title("Market questions, by input tokens" + (" (SCRIPTED: plumbing only)" if is_scripted(answers) else ""))
    axes.grid(alpha=0.3, axis="x")
    figure.tight_layout()
    figure.savefig(path, dpi=130)
    plt.close(figure)


def wilson(good: int, count: int) -> tuple[float, float]:
    """95 % interval of a share (Wilson, 1927): wide for few answers, also where none or all are right."""
    z, share = 1.96, good / count
    middle = (share + z**2 / (2 * count)) / (1 + z**2 / count)
    reach = z * (share * (1 - share) / count + (z / (2 * count)) ** 2) ** 0.5 / (1 + z**2 / count)
    return max(0.0, middle - reach), min(1.0, middle + reach)
