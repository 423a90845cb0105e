"""The ways a question is asked, the rivals first: what a reader of the market could do without this package.

Every arm gets the same question with the same last line. All of them see the market as it was at the moment of the
question, after the newest bar; only the arms with a memory (`team_arms`) may have slept before it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from agno.agent import Agent
from agno.models.base import Model
from agno.run import RunStatus

from deeptrader.core.clock import ReplayClock
from deeptrader.toolkits.market_data import MarketDataToolkit

from .contexts import NAMES
from .questions import Question
from .truth import OVERBOUGHT, OVERSOLD, Facts

BARS_SHOWN = 60
ROWS_SHOWN = 120
"""At most so many rows of bars stand in one prompt: with more than two tokens each gets fewer."""
MOST_TOOL_CALLS = 6
READER = (
    "You answer questions about tokens (stocks or coins) from the data in the message, and from nothing else. "
    "Be brief, and keep to the form asked for in the last line."
)
CALLER = (
    "You answer questions about tokens (stocks or coins). You know no figure yourself: first get it with a tool, by "
    "writing the tool call and nothing else. When the result is there, answer from it, briefly, and keep to the form "
    "asked for in the last line. Symbols: {symbols}."
)


@dataclass
class Reply:
    """What came back, and what it cost. `cached` of the input tokens were read from the server's prompt cache;
    `by_code` says why code answered in the model's place, empty where the model's own words stand."""

    text: str = ""
    status: Literal["ok", "error", "timeout"] = "ok"
    error: str = ""
    by_code: str = ""
    input_tokens: int = 0
    output_tokens: int = 0
    cached: int = 0
    calls: int = 0
    tools: list[str] = field(default_factory=list)
    seconds: float = 0.0


@dataclass
class Slept:
    """What one sleep cost. `model_tokens` are those of a sleeping model: none by default."""

    context: str
    seconds: float
    model_tokens: int = 0
    note: str = ""


class Arm(Protocol):
    """One way to ask. `slept` lists what was spent before the questions came."""

    slept: list[Slept]

    async def answer(self, question: Question) -> Reply: ...

    def close(self) -> None: ...


@dataclass(frozen=True)
class Options:
    """What an arm is built with: a maker of models, so that each agent has its own, and the limit of one question."""

    model: Callable[[], Model]
    seconds: float = 120


class PromptArm:
    """An agent without tools. `context` writes what stands before the question: the same for all questions about the
    same tokens, so that a server with a prompt cache reads it once."""

    def __init__(self, options: Options, context: Callable[[Question], str]) -> None:
        self.slept: list[Slept] = []
        self._seconds = options.seconds
        self._context = context
        self._agent = Agent(model=options.model(), instructions=READER, telemetry=False)

    async def answer(self, question: Question) -> Reply:
        return await ask(self._agent, f"{self._context(question)}\n\n{question.prompt}", self._seconds)

    def close(self) -> None: ...


class ToolsArm:
    """An agent with the market's own tools: bars, quotes and indicators, computed at the time of the question."""

    def __init__(self, options: Options) -> None:
        self.slept: list[Slept] = []
        self._options = options
        self._model = options.model()

    async def answer(self, question: Question) -> Reply:
        clock = ReplayClock(question.asked_at)
        toolkit = MarketDataToolkit(question.context.provider(question.asked_at), clock=clock)
        symbols = ", ".join(called(symbol) for symbol in question.context.tokens)
        agent = Agent(
            model=self._model,
            tools=[toolkit],
            instructions=CALLER.format(symbols=symbols),
            tool_call_limit=MOST_TOOL_CALLS,
            telemetry=False,
        )
        return await ask(agent, question.prompt, self._options.seconds)

    def close(self) -> None: ...


def raw_bars(question: Question) -> str:
    """The last daily bars of the tokens in question, as rows."""
    facts = question.context.facts(question.asked_at)
    rows = min(BARS_SHOWN, ROWS_SHOWN // len(question.tokens))
    blocks = []
    for symbol in sorted(question.tokens):
        bars = facts[symbol].bars.iloc[-rows:]
        lines = [f"Daily bars of {called(symbol)}", "date,open,high,low,close,volume"]
        for (closed, bar), day in zip(bars.iterrows(), _days(facts[symbol], rows), strict=True):
            del closed
            prices = ",".join(price(bar[name]) for name in ("open", "high", "low", "close"))
            lines.append(f"{day},{prices},{bar['volume']:.0f}")
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks)


def tool_replies(question: Question) -> str:
    """What the indicator tool replies about the tokens in question: a tools arm whose model always calls the right tool
    at once, and pays for no schema."""
    clock = ReplayClock(question.asked_at)
    toolkit = MarketDataToolkit(question.context.provider(question.asked_at), clock=clock)
    return "\n\n".join(toolkit.get_indicators(symbol) for symbol in question.tokens)


def five_lines(question: Question) -> str:
    """Five plain lines for each token in question, worked out before by TA-Lib: the cheapest honest rival."""
    facts = question.context.facts(question.asked_at)
    return "\n\n".join("\n".join(lines_of(facts[symbol])) for symbol in question.tokens)


def lines_of(facts: Facts) -> list[str]:
    """Close and returns; RSI; bands and ATR; the 200-day average; the 52-week range."""
    name, close = facts.symbol, facts.close
    state = "oversold" if facts.rsi < OVERSOLD else "overbought" if facts.rsi > OVERBOUGHT else "neutral"
    lower, upper = facts.lower[0], facts.upper[0]
    place = (
        "below the lower band" if close < lower else "above the upper band" if close > upper else "between the bands"
    )
    returns = ", ".join(f"{facts.change(n):+.2f} % over {n} trading day{'s' * (n > 1)}" for n in (1, 7, 30))
    average, high, low = facts.average_200, facts.highs[:1], facts.lows[:1]
    trend = (
        f"{price(average)}; the close is {abs(100 * (close / average - 1)):.1f} % "
        f"{'above' if close > average else 'below'} it"
        if average
        else "not known, too few bars"
    )
    year = (
        f"{price(low[0])} to {price(high[0])}; the close is {100 * (1 - close / high[0]):.1f} % below the high and "
        f"{100 * (close / low[0] - 1):.1f} % above the low"
        if high and low
        else "not known, too few bars"
    )
    return [
        f"{called(name)}: closed at {price(close)} USD on {facts.day}; {returns}",
        f"{name} RSI(14): {facts.rsi:.1f}, {state}",
        f"{name} Bollinger bands: lower {price(lower)}, middle {price(facts.middle)}, upper {price(upper)}; the close "
        f"is {place}; ATR(14): {price(facts.atr)}",
        f"{name} 200-day average: {trend}",
        f"{name} 52-week range: {year}",
    ]


def called(symbol: str) -> str:
    """A symbol with the name people use for it."""
    return f"{symbol} ({NAMES[symbol][0]})" if symbol in NAMES else symbol


def price(value: float) -> str:
    """Two decimals from one dollar up, else four digits."""
    return f"{value:.2f}" if abs(value) >= 1 else f"{value:.4g}"


def _days(facts: Facts, rows: int) -> list[str]:
    """The day of each bar: one that closes at midnight belongs to the day before."""
    return [f"{closed.date()}" for closed in (facts.bars.index[-rows:] - facts.JUST_BEFORE)]


async def ask(runnable: Any, prompt: str, seconds: float) -> Reply:
    """One run of an agent or a team, with its cost over leader and members; an error or a time-out is a reply too."""
    begun = time.perf_counter()
    reply = Reply()
    try:
        run = await asyncio.wait_for(runnable.arun(prompt), seconds)
    except TimeoutError:
        reply.status, reply.error = "timeout", f"nothing within {seconds:g} s"
    except Exception as error:  # noqa: BLE001 - whatever an arm raises is its result
        reply.status, reply.error = "error", f"{type(error).__name__}: {error}"[:500]
    else:
        add_cost(reply, run)
        content = run.content
        reply.text = content if isinstance(content, str) else "" if content is None else str(content)
        reply.by_code = (run.metadata or {}).get("deeptrader", {}).get("answer", {}).get("why", "")
        if reply.by_code == "served":
            reply.calls = 0  # agno keeps the answer of code as a message of the model
        if run.status != RunStatus.completed:
            reply.status, reply.error = "error", f"{run.status}: {reply.text}"[:500]
    reply.seconds = time.perf_counter() - begun
    return reply


def add_cost(reply: Reply, run: Any) -> None:
    """Tokens, model calls and tool calls of a run and of the members' runs in it."""
    if run.metrics is not None:
        reply.input_tokens += run.metrics.input_tokens
        reply.output_tokens += run.metrics.output_tokens
        reply.cached += run.metrics.cache_read_tokens
    reply.calls += sum(1 for message in run.messages or () if message.role == "assistant" and not message.from_history)
    reply.tools += [tool.tool_name or "?" for tool in run.tools or ()]
    for member in getattr(run, "member_responses", None) or ():
        add_cost(reply, member)


RIVALS: dict[str, Callable[[Options], Arm]] = {
    "raw": lambda options: PromptArm(options, raw_bars),
    "tools": ToolsArm,
    "tools-called": lambda options: PromptArm(options, tool_replies),
    "lines": lambda options: PromptArm(options, five_lines),
}
