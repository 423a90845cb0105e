"""Write the sessions of the New York Stock Exchange that ship with the package, from exchange_calendars.

    python scripts/build_sessions.py [FILE]

Weekdays on which it is closed, and sessions with other hours than usual, in New York's time. Run it again when
exchange_calendars knows of a closure that it did not know before.
"""

from __future__ import annotations

import json
import sys
from datetime import date, timedelta
from importlib.metadata import version
from pathlib import Path
from typing import Any

import exchange_calendars

from deeptrader.toolkits.market_data.calendar import FIRST_YEAR, LAST_YEAR, SESSIONS_FILE, ZONE

USUAL = ["09:30", "16:00"]


def main() -> None:
    calendar = exchange_calendars.get_calendar("XNYS", start=f"{FIRST_YEAR}-01-01", end=f"{LAST_YEAR}-12-31")
    schedule: Any = calendar.schedule
    hours = {
        row.Index.date(): [f"{moment.tz_convert(ZONE):%H:%M}" for moment in (row.open, row.close)]
        for row in schedule.itertuples()
    }
    first, after = date(FIRST_YEAR, 1, 1), date(LAST_YEAR + 1, 1, 1)
    days = (first + timedelta(days=number) for number in range((after - first).days))
    table = {
        "source": f"exchange_calendars {version('exchange_calendars')}, XNYS",
        "usual": USUAL,
        "closed": [day.isoformat() for day in days if day.weekday() < 5 and day not in hours],
        "other_hours": {day.isoformat(): span for day, span in hours.items() if span != USUAL},
    }
    shipped = Path(__file__).parents[1] / "toolkits/market_data" / SESSIONS_FILE
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else shipped
    path.write_text(json.dumps(table, separators=(",", ":")).replace('],"', '],\n"') + "\n", encoding="utf-8")
    print(f"{path}: {len(hours)} sessions from {first} to {after}")


if __name__ == "__main__":
    main()
