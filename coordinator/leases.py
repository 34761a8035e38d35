"""Workers: joining, going away, coming back in time or not, and what becomes of their attempts."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice

from ..protocol.ids import WorkerId
from ..protocol.outcomes import Evidence
from ..protocol.ports import Holding, WorkerInfo
from .attempts import Attempts
from .dues import Recall
from .effects import Gone, Joined, WorkerSaved
from .events import WorkerJoined, WorkerLeft
from .placement import Placement
from .records import WorkerRecord
from .state import SLICE, State, Task


class Leases:
    """The workers that are known, and the time that those who are away have left."""

    def __init__(self, state: State, placement: Placement, attempts: Attempts) -> None:
        self._state = state
        self._placement = placement
        self._attempts = attempts
        self._parting: set[str] = set()
        """Names of workers that will not come back, and whose attempts are being given up."""

    # -- coming -----------------------------------------------------------------------------------

    def joined(self, event: WorkerJoined) -> None:
        """A worker joins, or comes back with what it holds."""
        state = self._state
        worker = state.incarnations.get(event.info.incarnation)
        if worker is None:
            worker = self._new(event)
            state.writes.append(WorkerSaved(worker))
        else:
            worker.info = event.info  # with no slots any more, where it is about to leave
            self._come_back(worker, event.held)
        current = {
            Holding(job.id, job.attempt) for job in worker.held.values() if job.attempt is not None
        }
        drop = [holding for holding in event.held if holding not in current]
        state.tells.append(Joined(worker, drop))
        self._placement.room(worker)

    def _new(self, event: WorkerJoined) -> WorkerRecord:
        worker = self.enter(
            self._free_name(event.info.name), event.info, event.at.wall, event.local
        )
        worker.lane.workers += 1
        return worker

    def enter(self, name: WorkerId, info: WorkerInfo, since: float, local: bool) -> WorkerRecord:
        """File a worker."""
        lane = self._placement.lane(info.python)
        lane.known += 1
        worker = WorkerRecord(name, info, lane, since, local)
        self._state.workers[name] = self._state.incarnations[info.incarnation] = worker
        return worker

    def await_return(self, worker: WorkerRecord) -> None:
        """An earlier coordinator knew this worker: it may come back with what it holds."""
        worker.away = True
        if worker.local:
            self._lose(worker, "it ran in the coordinator's process, which ended")
        else:
            worker.due = self._state.at.now + self._state.settings.recovery
            self._state.wheel.add(worker.due, worker)

    def _free_name(self, wish: str) -> WorkerId:
        name, number = wish, 1
        while WorkerId(name) in self._state.workers or name in self._parting:
            number += 1
            name = f"{wish}-{number}"
        return WorkerId(name)

    def _come_back(self, worker: WorkerRecord, held: Sequence[Holding]) -> None:
        """Take up a worker again. What it does not name may have ended: reports may follow."""
        state = self._state
        if worker.due is not None:
            state.wheel.discard(worker.due, worker)
            worker.due = None
        if worker.away:
            worker.away = False
            worker.lane.workers += 1
        worker.retracting.clear()
        named = set(held)  # attempts: it may name an older one of a job that it has to get anew
        worker.unlisted = {
            job.id
            for job in worker.held.values()
            if job.attempt is None or Holding(job.id, job.attempt) not in named
        }
        if worker.unlisted:
            worker.recall = state.at.now + state.settings.recall
            state.wheel.add(worker.recall, Recall(worker))
        for job in worker.held.values():
            if job.why == "unbegun":
                state.tell_retract(job)
            elif job.why is not None:
                state.tell_end(job, job.why)

    # -- going ------------------------------------------------------------------------------------

    def left(self, event: WorkerLeft) -> None:
        """A worker's connection is gone: its lease begins, or ends with its goodbye."""
        state = self._state
        worker = state.workers.get(event.worker)
        if worker is None or worker.away:
            return
        worker.away = True
        worker.lane.workers -= 1
        worker.unlisted.clear()
        self._placement.room(worker)
        if event.goodbye:
            self._lose(worker, "the worker left while the job ran")
        else:
            worker.due = event.at.now + state.settings.lease
            state.wheel.add(worker.due, worker)

    def expired(self, worker: WorkerRecord) -> None:
        """A worker did not come back in time."""
        if worker.away and worker.due is not None:
            lease = self._state.settings.lease
            self._lose(worker, f"the worker was lost: no word from it for {lease:g} s or more")

    def extend(self, seconds: float) -> None:
        """Those who are away, or have just come back, have that much more time."""
        for worker in self._state.workers.values():
            if worker.unlisted:
                worker.recall += seconds
                self._state.wheel.add(worker.recall, Recall(worker))
            if worker.due is not None:
                self._state.wheel.discard(worker.due, worker)
                worker.due += seconds
                self._state.wheel.add(worker.due, worker)

    def _lose(self, worker: WorkerRecord, reason: str) -> None:
        state = self._state
        if worker.due is not None:
            state.wheel.discard(worker.due, worker)
            worker.due = None
        self._parting.add(worker.name)
        del state.workers[worker.name]
        del state.incarnations[worker.info.incarnation]
        self._placement.leave(worker.lane)
        state.tells.append(Gone(worker))
        evidence = Evidence(worker=worker.name, host=worker.info.host, reason=reason)
        state.run(self._lose_attempts(worker, evidence))

    def _lose_attempts(self, worker: WorkerRecord, evidence: Evidence) -> Task:
        while worker.held:
            for number in list(islice(reversed(worker.held), SLICE)):
                self._attempts.lose(worker.held[number], evidence)
            if worker.held:
                yield None
        self._parting.discard(worker.name)
        self._state.gone.append(worker)

    def recalled(self, worker: WorkerRecord) -> None:
        """Attempts that a worker did not name when it came back, and has not reported since."""
        if self._state.at.now < worker.recall:
            return  # it has come back once more, or has more time
        evidence = Evidence(
            worker=worker.name,
            host=worker.info.host,
            reason="the worker came back without it",
        )
        self._state.run(self._give_up(worker, evidence))

    def _give_up(self, worker: WorkerRecord, evidence: Evidence) -> Task:
        while worker.unlisted and not worker.away:
            for number in sorted(worker.unlisted, reverse=True)[:SLICE]:
                worker.unlisted.discard(number)
                job = worker.held.get(number)
                if job is not None:
                    self._state.tell_end(job, "superseded")
                    self._attempts.lose(job, evidence)
            self._placement.room(worker)
            if worker.unlisted:
                yield None
