"""One client's share of the whole: it is refused beyond it, by name, and others are not."""

from __future__ import annotations

from typing import Any

import attrs
import pytest
from ampacity.coordinator import deliveries, intake
from ampacity.coordinator.placement import CREDIT_JOBS, most_held
from ampacity.coordinator.queues import PASSES
from ampacity.coordinator.settings import Settings
from ampacity.protocol.ids import LOCAL_CLIENT, ClientId
from ampacity.protocol.limits import BOX_BYTES
from ampacity.protocol.outcomes import Ending


class Told:
    """A stage whose refusals are kept in their words."""

    def __init__(self, stage: Any) -> None:
        self.stage = stage
        self.refusals: list[Exception] = []
        handle = stage.scheduler.handle

        def told(event: Any) -> Any:
            done = handle(event)
            self.refusals += [effect.error for effect in done if hasattr(effect, "error")]
            return done

        stage.scheduler.handle = told

    def why(self, kind: str) -> str:
        """In which words the last question was refused."""
        self.stage.ignore()
        error = self.refusals.pop()
        assert type(error).__name__ == kind
        self.refusals.clear()
        return str(error)

    def fine(self) -> None:
        self.stage.ignore()
        assert not self.refusals


@pytest.fixture
def told(either: Any) -> Any:
    def make(**settings: Any) -> Told:
        stage = either(**settings)
        stage.open("c", client="c")
        stage.open("d", client="d")
        stage.ignore()
        return Told(stage)

    return make


def settle(stage: Any) -> None:
    stage.go_on()
    stage.ignore()


def submit(told: Told, count: int, session: str = "c", **more: Any) -> None:
    told.stage.submit(count, session=session, sequence=told.stage.asks + 1, **more)


def test_jobs_of_one_client(told: Any) -> None:
    house = told(queue_jobs=20)
    submit(house, 10)
    house.fine()
    submit(house, 1)
    assert house.why("QueueFull") == (
        "this client's share of the queue is full: it takes 10 jobs of one"
    )
    submit(house, 10, "d")
    house.fine()
    submit(house, 1, "d")
    assert "in all" not in house.why("QueueFull")
    submit(house, 1, "s")
    assert house.why("QueueFull") == "the queue is full: it takes 20 jobs in all"


def test_this_machines_user_may_have_all(told: Any) -> None:
    house = told(queue_jobs=20)
    submit(house, 20, "s")
    house.fine()


def test_jobs_that_end_make_room(told: Any) -> None:
    house = told(client_jobs=3)
    submit(house, 3)
    house.stage.cancel(2, client="c")
    submit(house, 1)
    house.fine()
    submit(house, 1)
    house.why("QueueFull")


def test_bytes_of_one_client(told: Any) -> None:
    house = told(client_bytes=100)
    submit(house, 1, payload=bytes(101))
    house.fine()
    submit(house, 1)
    assert "100 bytes of one" in house.why("QueueFull")
    submit(house, 1, "d", payload=bytes(100))
    house.fine()
    house.stage.cancel(1, client="c")
    submit(house, 1)
    house.fine()


def test_unfetched_results_of_one_client(told: Any) -> None:
    house = told(client_retain_jobs=2)
    submit(house, 2)
    house.stage.cancel(1, 2, client="c")
    house.fine()
    submit(house, 1)
    assert "on their way to this session" in house.why("QueueFull")
    house.stage.open("other", client="c")
    submit(house, 1, "other")
    assert "fill this client's share of the store (2 jobs)" in house.why("StorageFull")
    submit(house, 1, "d")
    house.fine()
    house.stage.acknowledge(1, session="c")
    submit(house, 1)
    house.fine()


def test_bytes_of_unfetched_results_of_one_client(told: Any) -> None:
    house = told(client_retain_bytes=1000)
    submit(house, 1, payload=bytes(1000))
    house.stage.cancel(1, client="c")
    house.stage.open("other", client="c")
    house.fine()
    submit(house, 1, "other")
    assert "this client's share" in house.why("StorageFull")
    house.stage.forget(1, client="c")
    submit(house, 1)
    house.fine()


def test_a_retry_is_counted_as_well(told: Any) -> None:
    house = told(client_jobs=2)
    submit(house, 2)
    house.stage.cancel(1, client="c")
    house.stage.retry(1, client="c")
    house.fine()
    house.stage.cancel(2, client="c")
    submit(house, 1)
    house.fine()
    house.stage.retry(2, client="c")
    house.why("QueueFull")


def test_a_restart_forgets_no_share(stages: Any) -> None:
    from ampacity.testing.row_store import Disk

    stage = stages(disk=Disk(), client_jobs=3, client_retain_jobs=2)
    stage.open("c", client="c")
    stage.open("d", client="d")
    stage.submit(3, session="c")
    stage.submit(2, session="d")
    stage.cancel(4, 5, client="d")
    stage.ignore()
    stage.restart()
    stage.open("c", client="c")
    stage.open("other", client="d")
    stage.ignore()
    stage.submit(1, session="c")
    stage.expect(f"refuse {stage.asks}: QueueFull")
    stage.submit(1, session="other")
    stage.expect(f"refuse {stage.asks}: StorageFull")
    stage.cancel(1, client="c")
    stage.ignore()
    stage.submit(1, session="c", sequence=2)
    assert stage.only("write: added")
    stage.ignore()


def test_groups_that_are_not_closed(told: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intake, "OPEN_GROUPS", 3)
    house = told()
    for number in (1, 2, 3):
        submit(house, 1, group=number)
    house.fine()
    submit(house, 1, group=4)
    assert "3 groups that are not closed" in house.why("QueueFull")
    submit(house, 1, group=3)
    house.fine()
    house.stage.close_group(1, 1, session="c")
    submit(house, 1, group=4)
    house.fine()


def test_versions_of_python(told: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intake, "PYTHONS", 3)
    house = told()
    for number in (1, 2, 3):
        submit(house, 1, python=f"3.{number}")
    house.fine()
    submit(house, 1, python="3.4")
    assert "more than 3 versions" in house.why("QueueFull")
    submit(house, 1, python="3.3")
    house.fine()
    house.stage.cancel(1, client="c")
    submit(house, 1, python="3.4")
    house.fine()


def test_sessions_of_one_client(told: Any) -> None:
    house = told(client_sessions=2, session_grace=1.0)
    house.stage.open("c2", client="c")
    house.fine()
    with pytest.raises(Exception, match="2 sessions, as many as it may"):
        house.stage.open("c3", client="c")
    house.stage.leave("c")
    with pytest.raises(Exception, match="as many as it may"):
        house.stage.open("c3", client="c")  # it may come back any moment
    house.stage.later(2.0)
    house.stage.ignore()
    house.stage.open("c3", client="c")
    house.stage.ignore()
    assert {session.decode() for session in house.stage.scheduler.state.sessions} == {
        "s", "d", "c2", "c3",
    }  # fmt: skip
    house.stage.open("d2", client="d")
    house.fine()


def test_a_watch_goes_on_when_what_it_brings_is_taken(
    told: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deliveries, "OUTBOX", 4)
    monkeypatch.setattr("ampacity.coordinator.state.SLICE", 2)
    house = told()
    stage = house.stage
    submit(house, 20, "s")
    stage.cancel(*range(1, 21))
    stage.acknowledge(*range(1, 21))
    settle(stage)
    stage.open("t")
    stage.leave("s", goodbye=True)
    settle(stage)
    stage.watch(*range(1, 21), 99, session="t")
    taken: list[int] = []
    outbox = stage.scheduler.state.sessions[b"t"].outbox
    for _ in range(50):
        stage.go_on()
        outbox = stage.scheduler.state.sessions[b"t"].outbox
        assert len(outbox) <= 6
        now = list(outbox)
        taken += now
        stage.acknowledge(*now, session="t")
    assert taken == list(range(1, 21))
    answer = [line for line in stage.lines if line.startswith("answer")]
    assert answer[-1].endswith("[99]")
    settle(stage)


def test_a_watch_of_a_session_that_leaves_ends(told: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deliveries, "OUTBOX", 2)
    monkeypatch.setattr("ampacity.coordinator.state.SLICE", 2)
    house = told()
    stage = house.stage
    submit(house, 9, "s")
    stage.cancel(*range(1, 10))
    settle(stage)
    stage.open("t")
    stage.watch(*range(1, 10), session="t")
    stage.watch(1, 2, session="t")
    stage.leave("t")
    stage.go_on()
    session = stage.scheduler.state.sessions[b"t"]
    assert (session.parked, list(session.watches), session.watch_ids) == (None, [], 0)
    assert not session.outbox
    settle(stage)


def test_watches_without_an_answer(told: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deliveries, "WATCHES", 5)
    monkeypatch.setattr(deliveries, "OUTBOX", 1)
    house = told()
    submit(house, 2, "s")
    house.stage.cancel(1, 2)
    settle(house.stage)
    house.stage.watch(1, 2, 3, 4, 5, session="s")
    house.stage.watch(1, session="s")
    house.why("TooMany")


def test_runs_that_are_watched(told: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deliveries, "WATCHED_RUNS", 2)
    house = told()
    submit(house, 9, "s")
    house.stage.open("t")
    house.stage.watch(1, 3, 5, session="t")
    house.fine()
    house.stage.watch(7, session="t")
    assert "waits for as many" in house.why("TooMany")


# -- workers --------------------------------------------------------------------------------------


def test_versions_of_python_go_with_their_last_worker(either: Any) -> None:
    stage = either()
    for number in range(5):
        stage.join(f"w{number}", python=f"4.{number}")
    stage.lose("w0", goodbye=True)
    stage.lose("w1")
    stage.later(60.0)
    stage.ignore()
    assert set(stage.scheduler.placement.lanes) == {"4.2", "4.3", "4.4"}
    assert set(stage.scheduler.state.queues.turns) == {"4.2", "4.3", "4.4"}
    stage.join("w5", python="4.0")
    stage.submit(1, python="4.0")
    assert stage.only("assign") == ["assign w5: 1/1"]


def test_a_worker_says_how_many_slots_it_has_and_is_given_so_many_jobs_at_most() -> None:
    assert [most_held(slots) for slots in (0, 1, 64, 65, 1000, 65_536)] == [
        0, 1024, 32_768, 32_768, 32_768, 65_536,
    ]  # fmt: skip


# -- turns ----------------------------------------------------------------------------------------


def steadily(stage: Any, mine: range, most: int) -> list[bool]:
    """A worker of one slot ends its jobs one by one; whether each was of ``mine``, until all of
    those have ended."""
    order: list[bool] = []
    held = stage.scheduler.state.workers["w"].held
    while sum(order) < len(mine):
        assert len(order) <= most, "it waits for its turn"
        first = next(iter(held))
        stage.begin(first)
        stage.finish(first, seconds=1e-5)
        settle(stage)
        order.append(first in mine)
    return order


@pytest.mark.parametrize("target", ["m:f", "m:another"], ids=["known", "unknown"])
def test_ten_jobs_behind_a_flood_of_tiny_ones(either: Any, target: str) -> None:
    stage = either()
    stage.open("d", client="d")
    stage.scheduler.check_invariants = lambda: None  # it looks at all jobs, each time
    stage.submit(4000)
    stage.join()
    settle(stage)
    steadily(stage, range(1, 50), 100)
    stage.submit(10, session="d", target=target)
    order = steadily(stage, range(4001, 4011), 2000)
    waited = order.index(True)
    assert waited <= CREDIT_JOBS + PASSES
    assert len(order) - waited <= 2 * 10 + CREDIT_JOBS


def test_retries_and_losses_take_no_turns_of_others(either: Any) -> None:
    """One client's jobs fail and are tried again, or die with their children, all the time."""
    stage = either(max_losses=100)
    stage.open("d", client="d")
    stage.submit(40, retries=1000, backoff=0.0)
    stage.submit(40, session="d", target="m:other")
    stage.join()
    settle(stage)
    others = 0
    held = stage.scheduler.state.workers["w"].held
    for turn in range(80):
        job = next(iter(held))
        stage.begin(job)
        if job <= 40:
            stage.finish(job, ending=Ending.LOST if turn % 3 else Ending.FAILED, seconds=1.0)
        else:
            others += 1
            stage.finish(job, seconds=1.0)
        stage.later(0.1)
        settle(stage)
    assert 38 <= others <= 42


# -- the settings ---------------------------------------------------------------------------------


def test_shares() -> None:
    settings = Settings(queue_jobs=100, client_bytes=7)
    assert settings.share(LOCAL_CLIENT)[:2] == (100, 7)
    assert settings.share(ClientId("c"))[:2] == (50, 7)
    assert attrs.evolve(settings, client_jobs=500).share(ClientId("c")).queue_jobs == 100


def test_what_peers_rely_on_is_never_cut() -> None:
    settings = Settings(box_bytes=3 << 20)
    assert settings.caps(worker=False).box_bytes == 3 << 20
    assert settings.caps(worker=True).box_bytes == BOX_BYTES
