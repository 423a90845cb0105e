"""The HTTP core: in line, within its deadline, retried only where that helps, sync and async alike."""

from __future__ import annotations

import asyncio
import threading
from itertools import pairwise

import pytest
from doubles.security_server import Answer

from deeptrader.core.errors import BudgetExceeded, MalformedResponse, RateLimited, SourceUnreachable, TokenNotFound
from deeptrader.core.http import keeping_loop, run_sync
from deeptrader.core.limits import metered


async def test_requests_stand_in_line(http, server, clock):
    source = http(per_minute=20)
    server.on("/", Answer({"fine": True}))
    for _ in range(5):
        assert await source.fetch("/thing") == {"fine": True}
    times = [seen.at for seen in server.requests]
    assert [later - earlier for earlier, later in pairwise(times)] == [3, 3, 3, 3]


async def test_a_line_that_is_too_long_is_refused_without_a_request(http, server):
    source = http(per_minute=1, max_wait=30)
    server.on("/", Answer({}))
    await source.fetch("/thing")
    with pytest.raises(RateLimited):
        await source.fetch("/thing")
    assert server.count() == 1


@pytest.mark.parametrize(
    ("answer", "error", "requests"),
    [
        (Answer({}, 500), SourceUnreachable, 3),
        (Answer({}, 503), SourceUnreachable, 3),
        (Answer({}, 429), RateLimited, 3),
        (Answer({}, 404), TokenNotFound, 1),
        (Answer({}, 400), MalformedResponse, 1),
        (Answer({}, 401), MalformedResponse, 1),
        (Answer({}, 301, {"Location": "/other"}), MalformedResponse, 1),
        (Answer(b"{"), MalformedResponse, 1),
        (Answer(b'{"a": Infinity}'), MalformedResponse, 1),
        (Answer(b"\xff\xfe"), MalformedResponse, 1),
        (Answer(b" " * 3_000), MalformedResponse, 1),
    ],
)
async def test_only_what_may_pass_is_tried_again(http, server, answer, error, requests):
    source = http(max_bytes=2_000)
    server.on("/", answer)
    with pytest.raises(error):
        await source.fetch("/thing")
    assert server.count() == source.calls_made() == requests


async def test_many_at_once_share_one_line(http, server, clock):
    source = http(per_minute=60)
    server.on("/", Answer({}))
    await asyncio.gather(*(source.fetch("/thing") for _ in range(10)))
    assert server.count() == 10
    assert clock.monotonic() == 9


def test_threads_share_one_line_and_one_count(http, server):
    source = http(per_minute=60)
    server.on("/", Answer({}))
    threads = [threading.Thread(target=lambda: run_sync(source.fetch("/thing"))) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert source.calls_made() == server.count() == 5


async def test_each_attempt_is_metered_and_none_is_sent_that_is_refused(http, server):
    source = http(attempts=3)
    server.on("/", Answer({}, 503))
    left = iter([1, 2])

    def meter() -> None:
        if next(left, None) is None:
            raise BudgetExceeded("No calls are left.")

    with metered("security_calls", meter), pytest.raises(BudgetExceeded):
        run_sync(source.fetch("/thing"))  # in a thread of its own, since a loop runs here
    assert server.count() == source.calls_made() == 2


async def test_sync_works_inside_a_running_loop_and_carries_errors_over(http, server):
    source = http()
    server.on("/", Answer({"n": 1}), Answer({}, 404))
    assert run_sync(source.fetch("/thing")) == {"n": 1}
    with pytest.raises(TokenNotFound):
        run_sync(source.fetch("/thing"))


def test_calls_of_a_thread_that_keeps_its_loop_share_it_and_leave_nothing_running_in_it():
    loops, ended = [], []

    async def left_running() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(True)

    async def call(then=None) -> None:
        loops.append(asyncio.get_running_loop())
        waiting = asyncio.create_task(left_running())
        await asyncio.sleep(0)
        assert not waiting.done()
        if then is not None:
            run_sync(then)

    with keeping_loop():
        run_sync(call())
        assert ended == [True]
        run_sync(call(then=call()))  # within a running loop: in another
    assert loops[0] is loops[1]
    assert loops[2] is not loops[1]
    assert loops[0].is_closed()


async def test_a_cancelled_caller_is_cancelled_and_the_source_not_blamed(http, server):
    source = http(deadline=30.0)
    server.on("/", Answer(silent=True))
    for _ in range(8):
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(source.fetch("/thing"), 0.02)
    server.on("/", Answer({"well": True}))
    assert await source.fetch("/thing") == {"well": True}
