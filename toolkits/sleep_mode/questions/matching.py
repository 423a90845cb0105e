"""Does a question in other words ask exactly what a prepared answer answers? A near miss is a miss.

Slots decide (questions.py): kind, topic, tokens, interval, horizon and degree must be equal, and nothing may set the
question apart. Likeness of whole sentences is not asked: an embedder puts "should I sell BTC puts" (0.92) nearer to
"should I sell BTC" than most honest paraphrases (0.3 to 0.9), and cannot tell oversold from overbought at all. What it
can tell is what a single word is like. So where the slots agree and a word or two are left that no family explains,
each is compared with words of courtesy ("frankly", "describe") and with words that change the matter ("futures",
"staking"), and passes only when it is clearly like the former. How clearly is calibrated on those words themselves,
each judged by the others, so that the share of wrongly passed words stays under a bound.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from .lexicon import courtesy_words, foreign_words
from .understanding import Question

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MOST_UNEXPLAINED = 2
"""More words than this that no family explains make it another question, however courteous each looks."""

NEAREST = 3
SAME_STEM = 4


class WordEmbedder(Protocol):
    """Texts to vectors of equal length; Khala's embedders are such."""

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]: ...


@dataclass(frozen=True, slots=True)
class Calibration:
    """How a gate's threshold came about. `judged` words change the matter; `passed` of them would have passed.

    `error_bound` is the upper end of the 95 % Clopper-Pearson interval of that share; `kept` is the share of
    courteous words that pass. `threshold` is infinite, so that nothing passes, where no threshold keeps the bound.
    """

    threshold: float
    judged: int
    passed: int
    error_bound: float
    kept: float


class WordGate:
    """Tells words that leave a question's meaning alone from words that change it.

    Args:
        embedder: static word vectors are enough; the one that ships by default.
        max_error: bound on the share of matter-changing words that pass.
    """

    def __init__(self, embedder: WordEmbedder | None = None, *, max_error: float = 0.02) -> None:
        self._embedder = embedder
        self._max_error = max_error
        self._lock = threading.Lock()
        self._ready: tuple[NDArray[np.float32], NDArray[np.float32], Calibration] | None = None
        self._known: dict[str, float] = {}

    def calibration(self) -> Calibration:
        """The threshold in use and its measured error. Loads the embedder on first use."""
        return self._prepare()[2]

    def margin(self, word: str) -> float:
        """How much more a word is like courtesy than like another matter: a difference of mean cosines."""
        known = self._known.get(word)
        if known is None:
            courteous, foreign, _ = self._prepare()
            vector = _unit(self._embed([word]))[0]
            known = _margin(courteous @ vector, foreign @ vector)
            if len(self._known) >= 4_096:
                self._known.clear()
            self._known[word] = known
        return known

    def passes(self, word: str) -> bool:
        """True when the word clearly leaves the meaning of a question alone."""
        threshold = self.calibration().threshold
        return math.isfinite(threshold) and self.margin(word) >= threshold

    def _embed(self, words: Sequence[str]) -> NDArray[np.float32]:
        if self._embedder is None:
            from ...khala.embedder import WordLlamaEmbedder

            self._embedder = WordLlamaEmbedder()
        return self._embedder.embed(words)

    def _prepare(self) -> tuple[NDArray[np.float32], NDArray[np.float32], Calibration]:
        with self._lock:
            if self._ready is None:
                courteous = _unit(self._embed(courtesy_words()))
                foreign = _unit(self._embed(foreign_words()))
                self._ready = courteous, foreign, _calibrate(courteous, foreign, self._max_error)
            return self._ready


class Matcher:
    """Finds the key of the prepared answer that is right for a question, or says that there is none.

    Args:
        gate: judges words that no family explains; None lets no such word pass.
    """

    def __init__(self, gate: WordGate | None = None) -> None:
        self._gate = gate

    def key(self, question: Question) -> str | None:
        """The one key whose prepared answer is right, whether or not it has been prepared."""
        if not question.unexplained:
            return question.key
        if self._gate is None or len(question.unexplained) > MOST_UNEXPLAINED or question.slots_key is None:
            return None
        return question.slots_key if all(self._gate.passes(word) for word in question.unexplained) else None


def clopper_pearson_upper(events: int, trials: int, *, confidence: float = 0.95) -> float:
    """Upper end of the exact one-sided interval for a share: 0 of 60 gives 0.049. 1.0 without trials."""
    if trials == 0 or events >= trials:
        return 1.0
    low, high = events / trials, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        at_most = sum(math.comb(trials, k) * middle**k * (1 - middle) ** (trials - k) for k in range(events + 1))
        low, high = (middle, high) if at_most > 1 - confidence else (low, middle)
    return high


def _calibrate(courteous: NDArray[np.float32], foreign: NDArray[np.float32], max_error: float) -> Calibration:
    """The lowest threshold that keeps the bound, each word judged without itself and its kin."""
    good = _left_out(courtesy_words(), courteous, foreign, courteous=True)
    bad = sorted(_left_out(foreign_words(), foreign, courteous, courteous=False), reverse=True)
    allowed = -1
    while allowed + 1 < len(bad) and clopper_pearson_upper(allowed + 1, len(bad)) <= max_error:
        allowed += 1
    if allowed < 0:
        return Calibration(math.inf, len(bad), 0, clopper_pearson_upper(0, len(bad)), 0.0)
    threshold = math.nextafter(bad[allowed], math.inf)
    kept = sum(margin >= threshold for margin in good) / len(good)
    return Calibration(threshold, len(bad), allowed, clopper_pearson_upper(allowed, len(bad)), kept)


def _left_out(
    words: list[str], own: NDArray[np.float32], other: NDArray[np.float32], *, courteous: bool
) -> list[float]:
    margins = []
    for place, word in enumerate(words):
        kept = [i for i, w in enumerate(words) if i != place and w[:SAME_STEM] != word[:SAME_STEM]]
        mine, theirs = own[kept] @ own[place], other @ own[place]
        margins.append(_margin(mine, theirs) if courteous else _margin(theirs, mine))
    return margins


def _margin(courteous: NDArray[np.float32], foreign: NDArray[np.float32]) -> float:
    """Mean cosine of the nearest few on each side, one minus the other."""
    import numpy as np

    def nearest(cosines: NDArray[np.float32]) -> float:
        return float(np.partition(cosines, -NEAREST)[-NEAREST:].mean())

    return nearest(courteous) - nearest(foreign)


def _unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    import numpy as np

    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.divide(vectors, lengths, out=np.zeros_like(vectors), where=lengths > 0)
