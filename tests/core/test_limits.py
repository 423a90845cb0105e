import asyncio
import itertools
import threading
from datetime import UTC, datetime

import pytest

from deeptrader.core.clock import ManualClock
from deeptrader.core.errors import CircuitOpen, MalformedResponse, RateLimited, SourceUnreachable, TokenNotFound
from deeptrader.core.limits import CircuitBreaker, TokenBucket


@pytest.fixture
def clock():
    return ManualClock(datetime(2025, 6, 2, tzinfo=UTC))


def make_bucket(clock, per_minute=60, **options):
    async def asleep(seconds):
        clock.advance(seconds)

    return TokenBucket(
        per_minute,
        monotonic=clock.monotonic,
        sleep=lambda seconds: (clock.advance(seconds), None)[1],
        asleep=asleep,
        **{"jitter": 0.0, **options},
    )


def test_a_burst_goes_at_once_and_the_rest_is_spaced(clock):
    bucket = make_bucket(clock, burst=3)
    assert [bucket.reserve() for _ in range(5)] == pytest.approx([0, 0, 0, 1, 2])


def test_an_idle_bucket_refills_to_its_burst_and_no_further(clock):
    bucket = make_bucket(clock, burst=2)
    for _ in range(4):
        bucket.reserve()
    clock.advance(3600)
    assert [bucket.reserve() for _ in range(3)] == pytest.approx([0, 0, 1])


def test_the_long_run_rate_is_never_exceeded_whatever_the_jitter(clock):
    bucket = make_bucket(clock, per_minute=30, burst=1, jitter=0.5)
    sent = []
    for _ in range(61):
        bucket.acquire()
        sent.append(clock.monotonic())
    gaps = [later - earlier for earlier, later in itertools.pairwise(sent)]
    assert min(gaps) >= 2.0 - 1e-9
    assert max(gaps) <= 3.0 + 1e-9
    assert len({round(gap, 6) for gap in gaps}) > 1


async def test_async_and_sync_callers_stand_in_the_same_line(clock):
    bucket = make_bucket(clock)
    waits = [bucket.acquire(), await bucket.aacquire(), bucket.acquire()]
    assert waits == pytest.approx([0, 1, 1])


def test_a_place_too_far_away_is_refused_and_not_taken(clock):
    bucket = make_bucket(clock)
    bucket.reserve()
    with pytest.raises(RateLimited) as caught:
        bucket.reserve(max_wait=0.5)
    assert caught.value.retry_after == pytest.approx(1.0)
    assert bucket.reserve() == pytest.approx(1.0)


def test_a_pause_holds_everyone_back(clock):
    bucket = make_bucket(clock, burst=5)
    bucket.pause(20)
    assert bucket.acquire() == pytest.approx(20)


def test_the_lowest_rate_asked_for_holds(clock):
    bucket = make_bucket(clock, per_minute=60)
    bucket.slow_to(20)
    bucket.slow_to(600)
    assert [bucket.reserve() for _ in range(3)] == pytest.approx([0, 3, 6])


def test_threads_never_share_a_place(clock):
    bucket = make_bucket(clock, burst=1)
    waits: list[float] = []
    threads = [threading.Thread(target=lambda: waits.extend(bucket.reserve() for _ in range(50))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(waits) == pytest.approx([float(n) for n in range(200)])


def make_breaker(clock, **options):
    return CircuitBreaker("Yahoo", monotonic=clock.monotonic, **{"threshold": 3, "cooldown": 10, **options})


def fail(breaker, error=None):
    error = error or SourceUnreachable("no connection")
    with pytest.raises(type(error)), breaker.guard():
        raise error


def succeed(breaker):
    with breaker.guard():
        pass


def test_it_opens_after_failures_in_a_row_only(clock):
    breaker = make_breaker(clock)
    fail(breaker)
    fail(breaker)
    succeed(breaker)
    fail(breaker)
    fail(breaker)
    assert breaker.retry_in() == 0
    fail(breaker)
    assert breaker.retry_in() > 0
    with pytest.raises(CircuitOpen, match="left alone") as refused, breaker.guard():
        pytest.fail("nothing may be sent while open")
    assert refused.value.retry_after == breaker.retry_in()


def test_the_cool_down_grows_with_each_failed_probe_and_success_resets_it(clock):
    breaker = make_breaker(clock, cooldown=500)
    for _ in range(3):
        fail(breaker)
    pauses = []
    for _ in range(4):
        pauses.append(breaker.retry_in())
        clock.advance(breaker.retry_in())
        fail(breaker)
    assert pauses == pytest.approx([500, 1000, 1800, 1800])
    clock.advance(breaker.retry_in())
    succeed(breaker)
    assert breaker.retry_in() == 0
    for _ in range(3):
        fail(breaker)
    assert breaker.retry_in() == pytest.approx(500)


def test_one_probe_at_a_time(clock):
    breaker = make_breaker(clock)
    for _ in range(3):
        fail(breaker)
    clock.advance(10)
    with breaker.guard(), pytest.raises(CircuitOpen), breaker.guard():
        pytest.fail("a second probe went out")
    assert breaker.retry_in() == 0


def test_an_answer_about_one_token_proves_the_source_is_well(clock):
    breaker = make_breaker(clock)
    fail(breaker)
    fail(breaker)
    fail(breaker, TokenNotFound("no such token"))
    fail(breaker)
    fail(breaker, MalformedResponse("half a body"))
    assert breaker.retry_in() == 0


def test_a_rate_limit_counts_twice_and_its_wait_is_honoured(clock):
    breaker = make_breaker(clock, threshold=4)
    fail(breaker, RateLimited("slow down"))
    assert breaker.retry_in() == 0
    fail(breaker, RateLimited("slow down", retry_after=120))
    assert breaker.retry_in() > 0
    assert breaker.retry_in() == pytest.approx(120)


def test_a_bug_or_a_cancellation_says_nothing_about_the_source(clock):
    breaker = make_breaker(clock)
    for _ in range(3):
        fail(breaker)
    clock.advance(10)
    fail(breaker, ValueError("our bug"))
    assert breaker.retry_in() == 0
    with pytest.raises(asyncio.CancelledError), breaker.guard():
        raise asyncio.CancelledError
    assert breaker.retry_in() == 0
    succeed(breaker)
    assert breaker.retry_in() == 0


def test_late_news_from_before_the_trip_does_not_close_it(clock):
    breaker = make_breaker(clock)
    slow = breaker.guard()
    slow.__enter__()
    for _ in range(3):
        fail(breaker)
    slow.__exit__(None, None, None)
    assert breaker.retry_in() > 0
