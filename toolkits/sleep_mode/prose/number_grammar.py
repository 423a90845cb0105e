"""How numbers, dates, definitions and directions are written in English: the patterns of the number check."""

from __future__ import annotations

import re
from collections.abc import Sequence

NUMBER = re.compile(
    r"(?<![\w.,])(?P<sign>[+\-\u2212]?)(?P<dollar>\$?)(?P<digits>\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?)"
    r"(?P<scale>\s?(?:thousand|million|billion|trillion|bn|[kKmMB])(?![\w]))?"
    r"(?P<percent>\s?(?:%|percent\b|per cent\b))?(?![\w%])(?![.,]\d)"
)
SCALES = {"k": 1e3, "thousand": 1e3, "m": 1e6, "million": 1e6, "b": 1e9, "bn": 1e9, "billion": 1e9, "trillion": 1e12}
DATE = re.compile(
    r"(?<![\w-])(\d{4})-(\d{2})-(\d{2})(?:[ T](?:at )?(\d{2}):(\d{2})(?::(\d{2}))?(?: ?(?:UTC|Z))?)?(?![\w-])"
)
TIME = re.compile(r"(?<![\w:])(\d{2}):(\d{2})(?: ?UTC)?(?![\w:])")
MONTHS: Sequence[str] = "January February March April May June July August September October November December".split()  # noqa: SIM905
LONG_DATE = re.compile(
    rf"(?<!\w)(?:(?P<d1>\d{{1,2}}) (?P<m1>{'|'.join(MONTHS)})|(?P<m2>{'|'.join(MONTHS)}) (?P<d2>\d{{1,2}}))"
    r"(?:,? (?P<y>\d{4}))?(?!\w)"
)
WORDS = re.compile(
    r"\b(two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|thirteen|fourteen|fifteen|sixteen|seventeen|eighteen|"
    r"nineteen|twenty|thirty|forty|fifty|sixty|seventy|eighty|ninety|hundreds?|thousands?|millions?|billions?|dozens?|half|"
    r"halved|twice|thrice|double[ds]?|triple[ds]?|quadrupled?|two[- ]thirds?|an? (?:third|quarter|fifth|tenth)|"
    r"one[- ](?:third|quarter|percent|per cent)|three[- ]quarters?|one (?:per cent|percent|dollar|point))\b",
    re.IGNORECASE,
)
INDICATORS = re.compile(
    r"RSI ?\(14\)|(?:Bollinger(?: [Bb]ands?)?|%B|bands?) ?\(20, ?2\)|MACD ?\(12, ?26, ?9\)|(?:2 |two )?ATR ?\(14\)|"
    r"ADX ?\(14\)|EMA ?\((?:20|50|200)\)|EMA (?:20|50|200)(?!\d)|RSI[- ]14(?!\d)|52[- ]week"
)
"""Names with numbers in them: which indicator is meant, no value. They stand whatever the facts are."""
WINDOWS: tuple[tuple[str, re.Pattern[str]], ...] = tuple(
    (name, re.compile(pattern, re.IGNORECASE))
    for name, pattern in (
        ("return_1", r"(?:over|after|in) (?:the last )?1(?: bar\b|(?=,))|1-bar return"),
        ("return_7", r"(?:over|after|in) (?:the last )?7(?: bars\b|(?=,))|7-bar return"),
        ("return_30", r"(?:over|after|in) (?:the last )?30 bars\b|30-bar return"),
        ("median_1", r"after (?:the next )?1 bar\b"),
        ("median_7", r"after (?:the next )?7 bars\b"),
        ("median_30", r"after (?:the next )?30 bars\b"),
        ("volatility_30", r"(?:over|of) (?:the last )?30 bars\b|30-bar (?:realised )?volatility"),
        ("volume_ratio_20", r"20-bar (?:mean|average)"),
        ("security", r"(?:of|out of) 100\b|/100\b"),
    )
)
"""Windows that a figure is defined by: they stand where that figure is among the facts."""
NAMES: tuple[tuple[re.Pattern[str], tuple[str, ...]], ...] = tuple(
    (re.compile(pattern), names)
    for pattern, names in (
        (r"\bRSI\b", ("rsi_",)),
        (r"\bMACD\b", ("macd_",)),
        (r"\bATR\b", ("atr_", "stop_")),
        (r"\bADX\b", ("adx_",)),
        (r"\bEMA ?\(?20\)?(?!\d)", ("ema_20",)),
        (r"\bEMA ?\(?50\)?(?!\d)", ("ema_50",)),
        (r"\bEMA ?\(?200\)?(?!\d)", ("ema_200",)),
        (r"%B", ("bb_percent_b_20_2",)),
        (r"(?i)\bbandwidth\b", ("bb_bandwidth_20_2",)),
        (r"(?i)\bband\b", ("bb_", "trigger_")),
        (r"(?i)\bvolatility\b", ("volatility_",)),
        (r"(?i)\bvolume\b", ("volume_",)),
        (r"(?i)\bscore\b", ("security",)),
        (r"(?i)\breturn over 1 bar\b", ("return_1",)),
        (r"(?i)\breturn over 7 bars\b", ("return_7",)),
        (r"(?i)\breturn over 30 bars\b", ("return_30",)),
        (r"(?i)\bdistance from the 52-week high\b", ("distance_high_52w",)),
        (r"(?i)\bdistance from the 52-week low\b", ("distance_low_52w",)),
    )
)
AFTER = re.compile(r"^\s*(?:over|in|after) (?:the last )?(1|7|30) bars?\b")
LIMIT_WORDS = re.compile(
    r"(?i)\b(above|below|under|over|at|than|threshold|line|level|limit|reach(?:es)?|cross(?:es)?)\b|[<>]"
)
DOWN = re.compile(
    r"(?i)\b(f[ae]ll(?:s|en)?|down|lost|los[se]s?|drop(?:s|ped)?|declin(?:e|es|ed)|below|lower|under|negative|minus|off|slid|"
    r"shed|decreas(?:e|ed)|weaker|retreat(?:ed)?|from (?:its|the) (?:\w+-week )?high)\b"
)
UP = re.compile(
    r"(?i)\b(r[io]se[sn]?|up|gain(?:s|ed)?|above|higher|added|climb(?:s|ed)?|positive|plus|increas(?:e|ed)|advanc(?:e|ed)|"
    r"rall(?:y|ied)|from (?:its|the) (?:\w+-week )?low)\b"
)
LIMIT_REACH = 30
"""A threshold may stand where a word of comparison ("below", "at") comes at most this many characters before it."""

SENTENCE_END = re.compile(r"[.;!?](?:\s|$)|\n")
