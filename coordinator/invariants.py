"""What is true of the scheduler's records after every event. Looks at all of them, for tests."""

from __future__ import annotations

from collections import Counter

from ..protocol.ids import JobId
from .placement import Placement
from .records import ClientRecord, JobRecord, WorkerRecord, latest_of, tell_story
from .retention import Retention
from .state import State
from .transitions import ENDED, QUEUED, RUNNING, SENT, STATE_NAMES


def check(state: State, retention: Retention, placement: Placement) -> None:
    """Compare every count, queue and set with the jobs themselves."""
    owed: Counter[JobId] = Counter(
        number for session in state.sessions.values() for number in session.outbox
    )
    kept = 0
    for number, job in state.jobs.items():
        _check_job(state, job, owed[number], retention)
        kept += job.kept if number in retention else 0
    assert kept == retention.bytes, f"{retention.bytes} bytes are counted, {kept} are kept"
    _check_counts(state)
    _check_queues(state)
    for client in state.clients.values():
        _check_retries(state, client)
    for worker in state.workers.values():
        _check_worker(state, placement, worker)
    assert all(runs for client in state.clients.values() for runs in client.runs)


def _check_job(state: State, job: JobRecord, owed: int, retention: Retention) -> None:
    story = tell_story(job)
    worker = job.worker
    if job.state == QUEUED:
        assert worker is None, story
    elif job.state < ENDED:
        assert worker is not None and worker.held.get(job.id) is job, story
        assert (job.id in worker.running) == (job.state == RUNNING), story
    else:
        assert job.ended is not None and job.due is None, story
        assert (job.id in job.client.bad) == (STATE_NAMES[job.state] != "succeeded"), story
        leaving = job.session is None and job.owed > owed
        assert job.owed == owed or leaving, f"owed to {owed}, counted {job.owed}: {story}"
    assert (job.id in retention) == (job.state >= ENDED and not job.owed), story
    assert any(first <= job.id < first + n for first, n in job.client.runs), story
    assert job.key is None or job.client.keys[job.key] == job.id, story
    assert state.specs[job.spec.packed] is job.spec, story


def _check_counts(state: State) -> None:
    jobs = state.jobs.values()
    counts = Counter(job.state for job in jobs)
    assert state.counts == [counts[number] for number in range(len(STATE_NAMES))]
    specs = Counter(job.spec.packed for job in jobs)
    assert {packed: record.jobs for packed, record in state.specs.items()} == specs
    members = [job for job in jobs if job.group is not None]
    known = Counter(job.group for job in members)
    places = Counter((job.group, job.state) for job in members if latest_of(job) == job.id)
    for group in state.groups.values():
        assert group.counts == [places[group, n] for n in range(len(STATE_NAMES))]
        assert group.jobs == known[group]
    waiting = [job.payload for job in jobs if job.state < ENDED]
    assert state.pending_bytes == sum(len(p) for p in waiting if isinstance(p, bytes))


def _check_retries(state: State, client: ClientRecord) -> None:
    """Each job is run again once, in its place; what was forgotten is not spoken of as known."""
    for number, again in client.retried.items():
        job, other = state.jobs[number], state.jobs.get(again)
        assert job.client is client and job.state >= ENDED and again > number, tell_story(job)
        assert client.retries.get(again) == (None if other is None else number), tell_story(job)
        if other is not None:
            assert (other.group, other.place) == (job.group, job.place), tell_story(other)
    assert all(client.retried[old] == number for number, old in client.retries.items())


def _check_queues(state: State) -> None:
    sizes: Counter[str | None] = Counter()
    for client in state.clients.values():
        for python, queue in client.queues.items():
            waiting = [job.id for block in queue.blocks for job in block if job.state == QUEUED]
            stale = sum(len(block) for block in queue.blocks) - len(waiting)
            assert (queue.size, queue.stale) == (len(waiting), stale)
            assert len(set(waiting)) == len(waiting), "a job waits twice"
            sizes[python] += len(waiting)
            for turns in state.queues.turns.values():
                fits = python in (None, turns.python)
                assert not (fits and waiting) or client in turns.listed
    assert {python: n for python, n in state.queues.sizes.items() if n} == {
        python: n for python, n in sizes.items() if n
    }
    assert sum(sizes.values()) == state.counts[QUEUED]


def _check_worker(state: State, placement: Placement, worker: WorkerRecord) -> None:
    for number, job in worker.held.items():
        assert job.worker is worker and state.jobs[number] is job, tell_story(job)
        assert job.state in (SENT, RUNNING), tell_story(job)
    assert worker.running.keys() <= worker.held.keys()
    assert worker.retracting <= worker.held.keys()
    assert abs(worker.work - sum(job.weight for job in worker.held.values())) < 1e-6
    lane = placement.lanes[worker.info.python]
    free = not worker.away and len(worker.held) < worker.info.slots
    assert (worker in lane.free) == free, f"{worker.name} is filed wrongly"
    assert not (worker in lane.free and worker in lane.credit)
    if free and not placement.more:
        assert not state.queues.waiting(lane.python), "a slot is free and a job waits"
    laden = not worker.away and len(worker.held) > worker.info.slots > 0
    assert (worker in lane.laden) == laden
