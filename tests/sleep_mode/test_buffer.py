"""What waits in memory is written in its order, and one entry that cannot be written takes no other along."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from deeptrader.core.errors import StoreBusy
from deeptrader.toolkits.sleep_mode.buffer import WriteBuffer


class Store:
    """Takes whole batches; refuses odd entries for good, and everything while it is locked."""

    def __init__(self) -> None:
        self.kept: list[int] = []
        self.locked = False

    def write(self, batch: Sequence[int]) -> None:
        if self.locked:
            raise StoreBusy("locked")
        if any(entry % 2 for entry in batch):
            raise ValueError("odd")
        self.kept += batch


def buffer_of(store: Store, entries: Sequence[int], *, background: bool = False) -> WriteBuffer[int]:
    buffer = WriteBuffer(store.write, background=background)
    for entry in entries:
        buffer.add(entry)
    return buffer


def test_an_entry_that_can_never_be_written_is_dropped_and_the_others_are_kept_in_order() -> None:
    store = Store()
    buffer = buffer_of(store, [0, 2, 3, 4, 5, 6])
    assert buffer.flush() == 4
    assert (store.kept, buffer.lost) == ([0, 2, 4, 6], 2)
    assert buffer.flush() == 0


def test_a_store_that_locks_in_the_middle_loses_nothing() -> None:
    store = Store()
    buffer = buffer_of(store, [0, 3, 4, 6])
    plain = store.write

    def lock_after_one(batch: Sequence[int]) -> None:
        plain(batch)
        store.locked = True

    buffer._write = lock_after_one
    with pytest.raises(StoreBusy):
        buffer.flush()
    store.locked = False
    buffer._write = plain
    buffer.flush()
    assert (store.kept, buffer.lost) == ([0, 4, 6], 1)


def test_the_background_thread_outlives_a_bad_entry() -> None:
    store = Store()
    buffer = buffer_of(store, [1], background=True)
    buffer._wake.set()
    thread = buffer._thread
    assert thread is not None
    buffer.add(2)
    buffer.close()
    assert store.kept == [2]
    assert not thread.is_alive()
