"""What is true of the scheduler's records after every event. Looks at all of them, for tests."""

from __future__ import annotations

from collections import Counter

from ..protocol.ids import JobId
from .placement import Placement
from .records import ClientRecord, JobRecord, WorkerRecord
from .retention import Retention
from .state import State
from .stories import tell_story
from .tallies import Tally
from .transitions import DELAYED, ENDED, QUEUED, RUNNING, SENT, STATE_NAMES


def check(state: State, retention: Retention, placement: Placement) -> None:
    """Compare every count, queue and set with the jobs themselves.

    Where there are cold jobs, the counts of all jobs can only be seen to be large enough.
    """
    owed: Counter[JobId] = Counter(
        number for session in state.sessions.values() for number in session.outbox
    )
    for job in state.jobs.values():
        _check_job(state, job, owed[job.id])
    assert owed.keys() <= state.jobs.keys(), "a job on its way is not in memory"
    _check_counts(state, retention)
    _check_retries(state)
    _check_queues(state)
    for worker in state.workers.values():
        _check_worker(state, placement, worker)
    assert not (state.visiting or state.cooling) or not state.durable


def _check_job(state: State, job: JobRecord, owed: int) -> None:
    story = tell_story(job)
    worker = job.worker
    if job.state in (QUEUED, DELAYED):
        assert worker is None, story
        assert (job.resume is not None) == (job.state == DELAYED), story
    elif job.state < ENDED:
        assert worker is not None and worker.held.get(job.id) is job, story
        assert (job.id in worker.running) == (job.state == RUNNING), story
    else:
        assert job.ended is not None, story
        assert not state.durable or job.owed, f"ended, owed to nobody, and hot: {story}"
    assert job.owed == owed, f"owed to {owed}, counted {job.owed}: {story}"
    known = any(first <= job.id < first + n for first, n in job.client.runs)
    assert state.durable or known, story
    assert job.key is None or job.client.keys[job.key] == job.id, story
    assert state.specs[job.spec.packed] is job.spec, story


def _check_counts(state: State, retention: Retention) -> None:
    jobs = list(state.jobs.values())
    counts = Counter(job.state for job in jobs)
    _same_or_more(state, state.counts, [counts[number] for number in range(len(STATE_NAMES))])
    specs = Counter(job.spec.packed for job in jobs)
    assert {packed: record.jobs for packed, record in state.specs.items()} == specs
    members = [job for job in jobs if job.group is not None]
    known = Counter(job.group for job in members)
    places = Counter((job.group, job.state) for job in members if job.retried is None)
    for group in state.groups.values():
        _same_or_more(state, group.counts, [places[group, n] for n in range(len(STATE_NAMES))])
        _same_or_more(state, [group.jobs], [known[group]])
    for client in state.clients.values():
        _check_client(state, client, [job for job in jobs if job.client is client])
    waiting = [job.payload for job in jobs if job.state < ENDED]
    size = sum(len(payload) for payload in waiting if isinstance(payload, bytes))
    _same_or_more(state, [state.pending_bytes], [size])
    for tally, taken in ((retention.taken, True), (retention.untaken, False)):
        _check_tally(
            state, tally, [job for job in jobs if job.state >= ENDED and job.taken is taken]
        )


def _check_client(state: State, client: ClientRecord, jobs: list[JobRecord]) -> None:
    unfinished = [job for job in jobs if job.state < ENDED]
    payloads = [job.payload for job in unfinished if isinstance(job.payload, bytes)]
    _same_or_more(
        state,
        [client.jobs, client.unfinished, client.pending_bytes],
        [len(jobs), len(unfinished), sum(map(len, payloads))],
    )
    untaken = [job for job in jobs if job.state >= ENDED and not job.taken]
    _check_tally(state, client.untaken, untaken)


def _check_tally(state: State, tally: Tally, jobs: list[JobRecord]) -> None:
    size = sum(job.kept for job in jobs)
    _same_or_more(state, [tally.jobs, tally.bytes], [len(jobs), size])


def _same_or_more(state: State, counted: list[int], seen: list[int]) -> None:
    if state.durable:
        assert all(a >= b for a, b in zip(counted, seen, strict=True)), f"{counted} < {seen}"
    else:
        assert counted == seen, f"counted {counted}, there are {seen}"


def _check_retries(state: State) -> None:
    """Each job is run again once, in its place."""
    for job in state.jobs.values():
        again = None if job.retried is None else state.jobs.get(job.retried)
        if again is not None:
            assert job.state >= ENDED and again.id > job.id, tell_story(job)
            assert again.retry_of == job.id, tell_story(again)
            assert (again.group, again.place) == (job.group, job.place), tell_story(again)


def _check_queues(state: State) -> None:
    sizes: Counter[str | None] = Counter()
    for client in state.clients.values():
        for python, queue in client.queues.items():
            waiting = [job.id for block in queue.blocks for job in block if job.state == QUEUED]
            stale = sum(len(block) for block in queue.blocks) - len(waiting)
            assert (queue.size, queue.stale) == (len(waiting), stale)
            assert len(set(waiting)) == len(waiting), "a job waits twice"
            assert not queue.tail or state.durable, "a job is cold, and nothing is stored"
            sizes[python] += len(waiting)
            for turns in state.queues.turns.values():
                fits = python in (None, turns.python)
                assert not (fits and waiting) or client in turns.listed
    assert {python: n for python, n in state.queues.sizes.items() if n} == {
        python: n for python, n in sizes.items() if n
    }
    _same_or_more(state, [state.counts[QUEUED]], [sum(sizes.values())])


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
