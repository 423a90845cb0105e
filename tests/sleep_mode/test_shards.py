"""Several sleepers share the universe: no token twice, and what one of them leaves behind another takes up."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from pathlib import Path

import pytest
from doubles.postgres import PostgresServer
from pydantic import SecretStr

from benchmarks import torture
from deeptrader.core.clock import ManualClock
from deeptrader.toolkits.khala.journal import Journal
from deeptrader.toolkits.sleep_mode.lease import Claim, Lease

TOKENS, SHARDS = 100, torture.SHARDS


def lease_of(journal: Journal, clock: ManualClock, shards: int = SHARDS) -> Lease:
    return Lease(journal, seconds=60, clock=clock, shards=shards)


def claims(lease: Lease, **options) -> list[Claim]:
    """Every shard that can be had, one after the other."""
    made = []
    while (claim := lease.claim(share=True, **options)).grant is not None:
        made.append(claim)
    return made


def test_every_token_is_in_the_shard_of_one_holder(journal: Journal, clock: ManualClock) -> None:
    grants = [claim.grant for claim in claims(lease_of(journal, clock))]
    assert len(grants) == SHARDS
    holders = Counter(sum(grant.covers(f"T{n}-USD") for grant in grants if grant) for n in range(500))
    assert holders == {1: 500}


def test_all_of_it_is_had_only_while_nobody_has_a_part(journal: Journal, clock: ManualClock) -> None:
    lease = lease_of(journal, clock)
    part = lease.claim(share=True).grant
    assert part is not None
    assert lease.claim().state == "held"
    assert lease.holder() is None, "other shards are free"
    with part:
        pass
    whole = lease.claim().grant
    assert whole is not None
    assert all(whole.covers(f"T{n}-USD") for n in range(50))
    assert lease.claim(share=True).state == "held"
    assert lease.holder() is not None


def test_who_divides_otherwise_waits(journal: Journal, clock: ManualClock) -> None:
    grant = lease_of(journal, clock, shards=2).claim(share=True).grant
    assert grant is not None
    with grant:
        assert lease_of(journal, clock, shards=3).claim(share=True).state == "held"
        assert lease_of(journal, clock, shards=1).claim().state == "held"
        assert lease_of(journal, clock, shards=1).holder() is not None
    assert lease_of(journal, clock, shards=3).claim(share=True).state == "granted"


def test_a_shard_is_done_once_for_all_and_one_that_is_left_is_taken_over(journal: Journal, clock: ManualClock) -> None:
    since, lease = clock.now(), lease_of(journal, clock)
    left, *others = claims(lease, since=since)
    for claim in others:
        assert claim.grant is not None
        with claim.grant:
            pass
    assert lease.claim(since=since, share=True).state == "held"
    clock.advance(61)
    assert left.grant is not None
    taken = lease.claim(since=since, share=True).grant
    assert taken is not None
    assert taken.shards == left.grant.shards
    left.grant.beat()
    assert left.grant.lost
    with taken:
        pass
    assert lease.claim(since=since, share=True).state == "done"
    assert lease.claim(since=since + timedelta(seconds=90), share=True).state == "granted"


@pytest.mark.kill
@pytest.mark.parametrize("end", ["killed", "stood still"])
def test_two_share_a_hundred_tokens_and_one_ends_in_the_middle(
    tmp_path: Path, postgres: PostgresServer | None, journal_url: SecretStr | None, end: str
) -> None:
    if journal_url is not None and postgres is not None:  # a market's memory has one name, so each test has a database
        journal_url = SecretStr(postgres.database())
    url = journal_url.get_secret_value() if journal_url else ""
    assert torture.replicas(torture.Place(tmp_path, TOKENS, url), end=end).broken == []
