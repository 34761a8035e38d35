"""The driver where the disk fails, where it stood still itself, and where it is stopped."""

from __future__ import annotations

from typing import Any

import pytest
from ampacity.coordinator.store import StoreBroken
from ampacity.protocol.errors import Disconnected, NoSuchWorker, StorageFull, StoreRefused
from ampacity.protocol.ids import JobId
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure


def failed(deferred: Deferred[Any]) -> BaseException:
    found: list[Any] = []
    deferred.addBoth(found.append)
    assert found, "it has not fired"
    assert isinstance(found[0], Failure)
    assert found[0].value is not None
    return found[0].value


# -- a store that is full, or broken --------------------------------------------------------------


def test_while_the_disk_is_full_submissions_are_refused_and_ends_wait(
    houses: Any, delayed_store: Any
) -> None:
    house = houses(store=delayed_store)
    client, worker = house.client(), house.worker()
    first = house.submit(client)
    house.turn()
    delayed_store.let_go()
    assert house.now(first).ids == ((1, 1),)
    told = worker.finish(1)
    house.turn()
    delayed_store.commits.pop(0)[1].errback(StorageFull("the disk is full"))

    assert "the disk is full" in str(failed(house.submit(client)))
    assert house.waits(told), "an end was acknowledged that is not stored"
    house.later(1.5)
    delayed_store.let_go()
    house.now(told)
    again = house.submit(client)
    house.turn()
    delayed_store.let_go()
    assert house.now(again).ids == ((2, 1),)
    assert client.jobs == [1]


def test_a_store_that_sees_its_disk_nearly_full_has_new_jobs_refused(
    houses: Any, delayed_store: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delayed_store, "room", lambda: "1 MiB is free")
    house = houses(store=delayed_store)
    client = house.client()
    error = failed(house.submit(client))
    assert isinstance(error, StorageFull)
    assert str(error) == "1 MiB is free"
    assert isinstance(failed(client.session.retry([JobId(1)])), StorageFull)
    assert house.driver.no_room() == "1 MiB is free"
    assert delayed_store.commits == []


def test_a_broken_store_ends_the_coordinator_which_can_be_stopped(
    houses: Any, delayed_store: Any, logged_errors: Any
) -> None:
    house = houses(store=delayed_store)
    broken: list[Any] = []
    house.driver.on_broken = broken.append
    client = house.client()
    answer = house.submit(client)
    house.turn()
    delayed_store.commits.pop(0)[1].errback(StoreBroken("fdatasync failed"))
    house.turn()
    assert broken and broken[0].check(StoreBroken)
    assert isinstance(failed(house.submit(client)), StorageFull)
    stopped = house.driver.stop()
    assert stopped.called, "it waits for a store that will never answer"
    assert isinstance(failed(answer), Disconnected)
    assert delayed_store.commits == []
    assert logged_errors(StoreBroken)


# -- the end --------------------------------------------------------------------------------------


def test_what_has_come_before_the_end_is_stored(houses: Any, delayed_store: Any) -> None:
    house = houses(store=delayed_store)
    client = house.client()
    first, second = house.submit(client), house.submit(client)
    house.turn()
    third = house.submit(client)  # while the commit of the others is under way
    stopped = house.driver.stop()
    assert not stopped.called
    delayed_store.let_go()
    assert len(delayed_store.commits) == 1, "what came during the commit is not stored"
    delayed_store.let_go()
    assert stopped.called
    for answer in (first, second, third):
        assert isinstance(failed(answer), Disconnected)


def test_what_a_client_acknowledged_before_it_left_is_taken(house: Any) -> None:
    client, worker = house.client(), house.worker()
    house.submit(client)
    house.turn()
    worker.finish(1)
    house.turn()
    house.driver.leave_session(client.session.record.id, client, True)
    house.turn(3)
    assert house.driver.scheduler.retention.untaken.jobs == 0
    assert house.driver.scheduler.retention.taken.jobs == 1


# -- a standstill ---------------------------------------------------------------------------------


def test_after_a_standstill_of_the_coordinator_nobody_is_lost_for_it(houses: Any) -> None:
    house = houses(lease=5.0)
    client, worker = house.client(), house.worker()
    house.submit(client)
    house.turn()
    worker.begin(1)
    house.driver.leave(worker.events.record.name, worker, False)
    house.clock.advance(60.0)
    assert worker.events.record.away
    assert house.driver.scheduler.state.workers, "the worker was lost while nobody could look"
    house.later(6.0)
    assert not house.driver.scheduler.state.workers


# -- workers and copies ---------------------------------------------------------------------------


def test_a_worker_is_drained_by_name(house: Any) -> None:
    client, worker = house.client(role="operator"), house.worker()
    house.now(client.session.drain_worker("w"))
    assert worker.told == ["drain"]
    assert isinstance(failed(client.session.drain_worker("nobody")), NoSuchWorker)


def test_what_is_in_memory_cannot_be_copied(house: Any, tmp_path: Any) -> None:
    assert isinstance(
        failed(house.client(role="operator").session.backup(tmp_path / "copy")), StoreRefused
    )
