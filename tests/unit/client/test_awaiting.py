"""One object, awaited by Twisted's coroutines and by asyncio's tasks."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from ampacity.client.awaiting import Answer, Eventual, answer, run
from twisted.internet.defer import CancelledError, Deferred, ensureDeferred, fail, succeed


class Later(Eventual[str]):
    """Something with a result."""

    def __init__(self) -> None:
        self.waiting: list[Answer[str]] = []
        self.value: str | None = None
        self.cancelled = 0

    def result(self) -> Deferred[str]:
        waiter: Answer[str] = Answer(self._cancel)
        if self.value is None:
            self.waiting.append(waiter)
        else:
            waiter.callback(self.value)
        return waiter

    def _cancel(self, _: Any) -> None:
        self.cancelled += 1

    def fire(self, value: str) -> None:
        self.value = value
        waiting, self.waiting = self.waiting, []
        for waiter in waiting:
            waiter.callback(value)


def test_asyncio_tasks_await_an_answer():
    async def main() -> list[str]:
        first, failed = Answer[str](), Answer[str]()
        loop = asyncio.get_running_loop()
        loop.call_soon(first.callback, "first")
        loop.call_soon(failed.errback, ValueError("no"))
        with pytest.raises(ValueError, match="no"):
            await failed
        return [await first, await answer(succeed("at once"))]

    assert asyncio.run(main()) == ["first", "at once"]


def test_twisted_coroutines_await_an_answer():
    waiting: Answer[str] = Answer()

    async def main() -> str:
        with pytest.raises(ValueError, match="no"):
            await answer(fail(ValueError("no")))
        return await waiting

    done = ensureDeferred(main())
    waiting.callback("value")
    assert done.result == "value"


def test_many_tasks_and_coroutines_wait_for_one_thing():
    async def main() -> list[Any]:
        later = Later()

        async def wait() -> str:
            return await later

        in_twisted = Deferred.fromCoroutine(wait())
        tasks = [asyncio.create_task(wait()), asyncio.ensure_future(later)]
        await asyncio.sleep(0)
        later.fire("value")
        got = [*await asyncio.gather(*tasks), in_twisted.result]
        assert later.waiting == []
        return got

    assert asyncio.run(main()) == ["value"] * 3


def test_a_task_that_is_cancelled_cancels_what_it_awaits():
    async def main() -> int:
        later = Later()

        async def wait() -> str:
            return await later

        task = asyncio.create_task(wait())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return later.cancelled

    assert asyncio.run(main()) == 1


def test_time_outs_of_asyncio():
    async def main() -> int:
        later = Later()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(later, 0.01)
        return later.cancelled

    assert asyncio.run(main()) == 1


def test_a_coroutine_that_is_cancelled_cancels_what_it_awaits():
    later = Later()

    async def wait() -> Any:
        return await later

    done = ensureDeferred(wait())
    done.addErrback(lambda failure: failure.trap(CancelledError))
    done.cancel()
    assert done.result is CancelledError
    assert later.cancelled == 1


def test_users_coroutines_may_mix_deferreds_and_futures():
    async def mixed(gate: Any) -> Any:
        await asyncio.sleep(0)
        with pytest.raises(ValueError, match="no"):
            await fail(ValueError("no"))
        return await gate

    async def main() -> str:
        gate: Deferred[str] = Deferred()
        running = run(mixed(gate))
        asyncio.get_running_loop().call_later(0.01, gate.callback, "value")
        return await answer(running)

    assert asyncio.run(main()) == "value"


def test_users_coroutines_without_asyncio():
    gate: Deferred[str] = Deferred()

    async def waits() -> Any:
        return await gate

    running = run(waits())
    gate.callback("value")
    assert running.result == "value"
