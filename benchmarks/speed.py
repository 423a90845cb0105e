"""The speed benchmarks in short, and the table of them in docs/benchmarks.md: `make benchmark`.

    python benchmarks/speed.py [--write docs/benchmarks.md]

Each script prints a line of JSON for every row. Where a row has a rival, the plainest thing that does the same work was
timed in the same run, and the ratio counts: it holds on other machines too, seconds do not.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
RUNS = (
    "khala.py --short",
    "indicators.py --sizes 50 500",
    "cycle.py --sizes 50 500",
    "sleep_mode.py --repeat 200",
)
BEGIN, END = "<!-- speed: written by `make benchmark` -->", "<!-- speed: end -->"


def measured() -> Iterator[tuple[str, dict[str, Any]]]:
    """Every row, with the command that measured it. A script that fails ends all: no half table is written."""
    for run in RUNS:
        print(f"benchmarks/{run}", file=sys.stderr)
        name, *arguments = run.split()
        command = [sys.executable, str(HERE / name), *arguments, "--json"]
        printed = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=name != "sleep_mode.py").stdout
        for line in printed.splitlines():
            if line.startswith("{"):
                yield run, json.loads(line)


def table(rows: list[tuple[str, dict[str, Any]]]) -> str:
    """The rows as Markdown, under the date and the machine."""
    busy = os.getloadavg()[0] / (os.cpu_count() or 1)
    lines = [
        f"{datetime.now(UTC):%-d %B %Y}, {os.cpu_count()} cores ({platform.machine()}, Python "
        f"{platform.python_version()}), {busy:.1f} waiting processes a core.",
        "",
        "| what | measured | of processor | times its rival | command |",
        "| --- | ---: | ---: | --- | --- |",
    ]
    for run, row in rows:
        cpu, rival = row.get("cpu"), row.get("rival_value")
        ratio = f"{row['value'] / rival:.2g} x {row['rival']} ({time_text(rival)})" if rival else ""
        told = (row["what"], time_text(row["value"]), time_text(cpu) if cpu else "", ratio, f"`{run}`")
        lines.append(f"| {' | '.join(told)} |")
    return "\n".join(lines)


def time_text(milliseconds: float) -> str:
    """Milliseconds in the unit people would use."""
    for size, unit in ((1e3, "s"), (1.0, "ms")):
        if milliseconds >= size:
            return f"{milliseconds / size:.3g} {unit}"
    return f"{milliseconds * 1e3:.3g} µs"


def put(page: str, written: str) -> str:
    """The page with the table between its two marks replaced.

    Raises:
        ValueError: the page does not have both marks, once.
    """
    if not page.count(BEGIN) == page.count(END) == 1:
        raise ValueError(f"The page needs one {BEGIN} and one {END}.")
    between = re.compile(f"{re.escape(BEGIN)}.*{re.escape(END)}", re.DOTALL)
    return between.sub(lambda _: f"{BEGIN}\n{written}\n{END}", page)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", type=Path, help="the page whose table is rewritten")
    options = parser.parse_args()
    written = table(list(measured()))
    print(written)
    if options.write:
        page = options.write.read_text(encoding="utf-8")
        options.write.write_text(put(page, written), encoding="utf-8")


if __name__ == "__main__":
    main()
