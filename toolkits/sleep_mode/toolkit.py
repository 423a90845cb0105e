"""The door of sleep mode to agno: what a manager asks before it delegates."""

import logging
import time
import uuid
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from agno.run import RunContext

from ...core.errors import DeepTraderError, InvalidInput
from ...core.settings import Settings
from ..arguments import Names, Number, as_names, refuse_wrong_names
from ..doors import Door
from .asks import Listener, ask_of, tell
from .reader import Reader, Reading
from .screens import SHOWN, Order, Passing, Screen
from .topics import TOPICS

if TYPE_CHECKING:
    from ..khala import Khala

log = logging.getLogger(__name__)

SLEEP_MODE = "sleep_mode"
METADATA = "deeptrader"
"""Where on a run (`run_context.metadata`) the project's notes stand."""
MOST_TOKENS = 25
"""A reply has room for no more."""


class SleepModeToolkit(Door):
    """`sleep_mode` reads memory and says what is missing.

    Args:
        khala: the memory that is read. None: the one that settings describe, opened at the first call.
        settings: say which memory to open.
        reader: shared with another part, such as the push.
        listeners: told of every ask.
    """

    def __init__(
        self,
        khala: "Khala | None" = None,
        *,
        settings: Settings | None = None,
        reader: Reader | None = None,
        listeners: Sequence[Listener] = (),
        **toolkit_options: Any,
    ) -> None:
        self._khala = khala
        self._settings = settings
        self._listeners = tuple(listeners)
        self._reader = reader
        SleepModeToolkit.sleep_mode.__annotations__["topic"] = Literal[*TOPICS]  # with those of the user's own
        super().__init__(SLEEP_MODE, [self.sleep_mode], **toolkit_options)
        refuse_wrong_names(self)

    @property
    def khala(self) -> "Khala":
        """The memory that is read."""
        if self._khala is None:
            from ..runtime import open_runtime

            self._khala = open_runtime(self._settings).khala
        return self._khala

    @property
    def reader(self) -> Reader:
        """What looks into memory; shared with the push and the gate."""
        if self._reader is None:
            self._reader = Reader(self.khala)
        return self._reader

    def sleep_mode(
        self,
        tokens: Names = [],  # noqa: B006 - agno reads the default into JSON
        topic: str = "state",  # from the closed list, once a toolkit is built
        figure: str = "",
        order: Order | None = None,
        below: Number | None = None,  # type: ignore[valid-type]
        above: Number | None = None,  # type: ignore[valid-type]
        security: Passing | None = None,
        run_context: RunContext | None = None,
    ) -> str:
        """Read what the team's memory knows, before delegating.

        Args:
            tokens (list[str]): Symbols or names; empty for the whole market.
            topic (str): What the question is about.
            figure (str): With topic screen or compare: the figure to order by, such as rsi_14 or return_week.
            order (str): lowest or highest first.
            below (float): Keep only tokens whose figure is below this.
            above (float): Keep only tokens whose figure is above this.
            security (str): Keep only tokens with this security verdict.
        """
        started = time.perf_counter()
        try:
            names = as_names(tokens)
            if len(names) > MOST_TOKENS:
                hint = f"Name at most {MOST_TOKENS}, the ones the question is about."
                raise InvalidInput(f"{len(names):,} tokens were named.", hint=hint)
            screen = None
            if figure or order or below is not None or above is not None or security or topic == "screen":
                screen = _screen(figure, order, below, above, security)
            reading = self.reader.read(names=names, topic=topic if topic in TOPICS else "state", screen=screen)
            run_id, session = (run_context.run_id, run_context.session_id or "") if run_context else ("", "")
            seconds = time.perf_counter() - started
            ask = ask_of(reading, ask_id=run_id or uuid.uuid4().hex, source="tool", session=session, seconds=seconds)
            tell(self._listeners, ask)
            if screen is None and _stands_in_input(reading, run_context):
                return "What memory knows of this stands in your input already; answer from it."
            return _reply(self.reader, reading)
        except DeepTraderError as error:  # one line on what is wrong: a model can act on it
            log.info("sleep mode: %s", error)
            return str(error)


def _reply(reader: Reader, reading: Reading) -> str:
    """What memory knows about a reading in plain lines, and in the last one what to do with it."""
    brief = reader.brief(reading)
    if reading.covered:
        step = "All of it is fresh: answer from these lines."
    elif reading.delegate:
        step = f"Delegate {', '.join(reading.delegate)}: memory has nothing fresh about it."
    else:
        step = "Memory cannot answer this."
    return "\n".join(line for line in (brief.text, step) if line)


def _stands_in_input(reading: Reading, run_context: RunContext | None) -> bool:
    """True when what was asked for was pushed into this very run's input."""
    notes = ((run_context.metadata or {}) if run_context else {}).get(METADATA) or {}
    pushed = notes.get("pushed") or {}
    tokens = set(reading.symbols)
    return bool(tokens) and tokens <= set(pushed.get("tokens", ())) and pushed.get("topic") == reading.topic.name


def _screen(figure: str, order: Order | None, below: Any, above: Any, security: Passing | None) -> Screen:
    try:
        low, high = (None if limit is None else float(limit) for limit in (below, above))
    except (TypeError, ValueError) as error:
        raise InvalidInput("below and above are numbers.", hint="Give a percentage as a fraction.") from error
    return Screen(
        figure or "rsi_14", order or ("lowest" if low is not None else "highest"), low, high, security, limit=SHOWN
    )
