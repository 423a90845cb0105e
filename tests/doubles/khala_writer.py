"""Run as a script: writes to a memory without end, and prints what has been acknowledged. Meant to be killed.

Each round stores and publishes one version of all tokens, with the round's number as their price, keeps a text and
brings Chroma up to date. Arguments: folder, number of the first round, how many tokens, URL of the journal or "".
"""

from __future__ import annotations

import sys
from datetime import timedelta
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from doubles.analyses import NOW, make_analysis, make_document, make_settings
from doubles.embedders import HashEmbedder
from pydantic import SecretStr

from deeptrader.core.clock import ManualClock
from deeptrader.toolkits.khala import Khala


def main(folder: str, first: int, tokens: int, url: str = "") -> None:
    clock = ManualClock(NOW)
    settings = make_settings(journal_url=SecretStr(url) if url else None)
    with Khala.open(folder, clock=clock, settings=settings, embedder=HashEmbedder()) as khala:
        khala.index()
        print("ready", flush=True)
        for number in range(first, first + 10_000):
            clock.set(NOW + timedelta(seconds=number))
            batch = [
                make_analysis(
                    f"T{n}-USD",
                    price=float(number),
                    rsi=float((7 * number + 13 * n) % 100),
                    computed_at=clock.now(),
                )
                for n in range(tokens)
            ]
            ids = khala.store(batch)
            print("stored", number, ids[0], flush=True)
            assert not khala.publish(ids).refused
            print("published", number, flush=True)
            khala.put_documents([make_document(f"round {number % 5}", text=f"round {number}", rests_on=tuple(ids[:2]))])
            print("document", number, flush=True)
            khala.index()
            print("indexed", number, flush=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), *sys.argv[4:])
