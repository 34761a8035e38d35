"""Batches: five milliseconds of work, spread over free slots, in order, by context."""

from __future__ import annotations

import pytest
from ampacity.protocol.ids import Attempt, ClientId, JobId
from ampacity.protocol.jobs import JobSpec, pack_spec
from ampacity.workers.held import Held, Plan, State
from ampacity.workers.waiting import (
    AHEAD_LONGEST,
    AHEAD_SECONDS,
    BATCH_JOBS,
    OVERHEAD,
    Durations,
    Waiting,
)


def plan(target="m:f", client="a", **options):
    spec = pack_spec(JobSpec(kind="import", target=target, **options))
    return Plan(ClientId(client), spec, "here")


def filled(count, of=None, seconds=None):
    of = of or plan()
    durations = Durations()
    if seconds is not None:
        durations.note(of.key, seconds)
    waiting = Waiting(durations)
    for number in range(count):
        waiting.add([Held(JobId(number), Attempt(1, 1), of, b"x")], float(number))
    return waiting, of.context


def jobs(batch):
    return [held.job for held in batch]


def test_an_unknown_target_goes_alone():
    waiting, context = filled(10)
    assert jobs(waiting.take(context, 1)[0]) == [0]
    assert len(waiting) == 9


def test_known_targets_share_five_milliseconds():
    waiting, context = filled(100, seconds=0.001 - OVERHEAD)
    assert jobs(waiting.take(context, 1)[0]) == [0, 1, 2, 3, 4]


def test_a_batch_has_a_bound():
    waiting, context = filled(1000, seconds=0.0)
    assert len(waiting.take(context, 1)[0]) == min(BATCH_JOBS, int(0.005 / OVERHEAD))


def test_a_short_queue_is_spread_first():
    waiting, context = filled(6, seconds=0.0)
    assert [len(waiting.take(context, free)[0]) for free in (4, 3, 2, 1)] == [2, 2, 1, 1]


def test_attached_jobs_go_alone():
    of = plan(attach=True)
    waiting, context = filled(4, of, seconds=0.0)
    assert len(waiting.take(context, 1)[0]) == 1


def test_what_is_put_back_comes_first_and_in_order():
    waiting, context = filled(10, seconds=0.0)
    batch = waiting.take(context, 2)[0]
    waiting.put_back(batch[2:])
    assert jobs(waiting.take(context, 1)[0]) == [2, 3, 4, 5, 6, 7, 8, 9]
    assert len(waiting) == 0


def test_removed_ones_are_gone():
    waiting, context = filled(5, seconds=0.0)
    gone = [held for held in waiting if held.job in (1, 3)]
    waiting.remove(gone)
    assert len(waiting) == 3
    assert jobs(waiting.take(context, 1)[0]) == [0, 2, 4]
    assert waiting.contexts() == []


def test_contexts_by_their_oldest():
    waiting = Waiting(Durations())
    first, second = plan(client="a"), plan(client="b")
    for number, of in enumerate((second, first, second)):
        waiting.add([Held(JobId(number), Attempt(1, 1), of, b"")], 0.0)
    assert waiting.contexts() == [second.context, first.context]
    held = waiting.take(second.context, 2)[0][0]
    assert held.state is State.WAITING
    assert waiting.contexts() == [first.context, second.context]


def test_a_context_is_client_folder_and_ships():
    assert plan(folder="/x", host="here").context.folder == "/x"
    assert plan(folder="/x", host="there").context.folder is None
    assert plan(folder="/x", host="here", cwd="/y").context[1:3] == (None, "/y")


def test_durations_are_smoothed():
    durations = Durations()
    assert durations.estimate("f") is None
    durations.note("f", 1.0)
    durations.note("f", 2.0)
    assert 1.0 < durations.estimate("f") < 2.0


def test_what_is_given_ahead_is_short():
    waiting, context = filled(1000, seconds=AHEAD_SECONDS / 8 - OVERHEAD)
    batch, seconds = waiting.take_ahead(context, 1)
    assert jobs(batch) == [0, 1, 2, 3, 4, 5, 6, 7]
    assert seconds == pytest.approx(AHEAD_SECONDS)
    assert len(waiting) == 992


def test_one_that_is_longer_is_given_ahead_by_itself():
    waiting, context = filled(10, seconds=0.006)
    batch, seconds = waiting.take_ahead(context, 1)
    assert jobs(batch) == [0]
    assert seconds == pytest.approx(0.006 + OVERHEAD)


def test_nothing_unknown_long_or_attached_is_given_ahead():
    for waiting, context in (
        filled(10),
        filled(10, seconds=AHEAD_LONGEST),
        filled(10, plan(attach=True), seconds=0.0),
    ):
        assert waiting.take_ahead(context, 1)[0] == []
        assert len(waiting) == 10
    assert waiting.take_ahead(plan(client="b").context, 1) == ([], 0.0)


def test_what_is_given_ahead_is_spread():
    waiting, context = filled(9, seconds=0.0)
    assert [len(waiting.take_ahead(context, busy)[0]) for busy in (2, 1)] == [5, 4]


def test_the_work_that_waits_for_each_child():
    waiting, context = filled(10, seconds=0.002 - OVERHEAD)
    assert waiting.behind(context, 4) == pytest.approx(0.005)
    assert waiting.behind(plan(client="b").context, 4) == 0.0
    waiting, context = filled(10)
    assert waiting.behind(context, 4) == 0.0
