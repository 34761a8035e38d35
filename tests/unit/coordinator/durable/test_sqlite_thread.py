"""The thread of a store: one thing after the other, and what each comes to."""

from __future__ import annotations

import threading
from typing import Any

import pytest
import pytest_twisted
from ampacity.coordinator.sqlite_thread import StoreThread
from twisted.internet.defer import gatherResults

pytestmark = pytest.mark.filterwarnings("error")


def started() -> StoreThread:
    from twisted.internet import reactor as installed

    reactor: Any = installed
    return StoreThread(reactor)


@pytest_twisted.ensureDeferred
async def test_things_are_done_in_their_order_and_elsewhere() -> None:
    thread, seen = started(), list[int]()
    done = await gatherResults([thread.do(seen.append, n) for n in range(100)])
    assert seen == list(range(100))
    assert done == [None] * 100
    assert await thread.do(threading.get_ident) != threading.get_ident()
    thread.stop()


@pytest_twisted.ensureDeferred
async def test_a_mistake_is_the_answer_and_does_not_end_it() -> None:
    thread = started()
    with pytest.raises(ZeroDivisionError):
        await thread.do(lambda: 1 // 0)
    assert await thread.do(int, "7") == 7
    thread.stop()


@pytest_twisted.ensureDeferred
async def test_what_was_asked_for_is_done_before_it_ends() -> None:
    thread = started()
    last = [thread.do(int, n) for n in range(10)]
    thread.stop()
    assert await gatherResults(last) == list(range(10))
