"""Is every date, time of day and weekday in a text one that the facts have?"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from datetime import datetime, timedelta

from .number_grammar import DATE, LONG_DATE, MONTHS, TIME, TO_COME, WEEKDAY

_REACH = 60
"""A day to come is named as one ("the next bar closes at ...") at most this many characters before it."""


def dates_in(text: str, moments: Collection[datetime], newest: datetime | None) -> Iterator[tuple[re.Match[str], bool]]:
    """Every date in a text, and whether it is one of these moments.

    A day after `newest`, the newest fact's, is yet to come: it may be named as what is due, not as what was.
    """

    def known(same: list[datetime], match: re.Match[str]) -> bool:
        if newest is None or any(moment.date() <= newest.date() for moment in same):
            return bool(same)
        return bool(same) and TO_COME.search(text[max(0, match.start() - _REACH) : match.start()]) is not None

    taken: set[int] = set()
    for match in DATE.finditer(text):
        year, month, day, hour, minute, second = match.groups()
        same = [m for m in moments if (m.year, m.month, m.day) == (int(year), int(month), int(day))]
        if hour is not None:
            same = [m for m in same if (m.hour, m.minute) == (int(hour), int(minute))]
        if second is not None:
            same = [m for m in same if m.second == int(second)]
        taken.update(range(match.start(), match.end()))
        yield match, known(same, match)
    for match in LONG_DATE.finditer(text):
        day = int(match["d1"] or match["d2"])
        month = MONTHS.index(match["m1"] or match["m2"]) + 1
        same = [m for m in moments if (m.month, m.day) == (month, day) and match["y"] in (None, str(m.year))]
        taken.update(range(match.start(), match.end()))
        yield match, known(same, match)
    for match in TIME.finditer(text):
        if match.start() not in taken:
            clock = (int(match[1]), int(match[2]))
            yield match, any((m.hour, m.minute) == clock for m in moments)
    # A daily bar that closed at Monday's midnight is Sunday's as well.
    days = {f"{moment - back:%A}" for moment in moments for back in (timedelta(0), timedelta(seconds=1))}
    for match in WEEKDAY.finditer(text):
        yield match, match[1].capitalize() in days
