"""What the coordinator asks of a worker on another machine: the responders of an agent."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.protocols import amp

from ..protocol.commands import Assign, AttachWorker, EndAttempts, Reload, Retract
from ..protocol.errors import Malformed
from ..protocol.ids import Attempt, JobId
from ..protocol.jobs import unpack_assignments
from ..protocol.outcomes import JobLog, pack_log
from ..protocol.ports import Ended, Holding, WorkerPort

if TYPE_CHECKING:
    from .uplink import Uplink

_Record = TypeVar("_Record")
_REASONS = frozenset({"cancelled", "deadline", "superseded"})


class Orders(amp.CommandLocator):
    """Hands the orders of one connection to the slots."""

    def __init__(self, slots: WorkerPort, uplink: Uplink, leaving: bool = False) -> None:
        self._slots = slots
        self._uplink = uplink
        self._late: list[Holding] = []
        self.leaving = leaving
        """Begin no job any more."""

    def give_back(self) -> None:
        """What came after the worker had begun to leave; at its end, or it would come again."""
        late, self._late = self._late, []
        self._uplink.returned(late)

    @Assign.responder
    def _assign(self, jobs: bytes) -> dict[str, Any]:
        assignments = unpack_assignments(jobs)
        if self.leaving:
            self._late += [Holding(a.job, a.attempt) for a in assignments]
        else:
            self._uplink.assigned(assignments)
            self._slots.assign(assignments)
        return {}

    @EndAttempts.responder
    def _end(self, attempts: Any) -> dict[str, Any]:
        ended = records(attempts, _ended)
        self._slots.end(ended)
        self._uplink.drop([Holding(e.job, e.attempt) for e in ended if e.why == "superseded"])
        return {}

    @Retract.responder
    def _retract(self, attempts: Any) -> dict[str, Any]:
        self._slots.retract(records(attempts, holding))
        return {}

    @AttachWorker.responder
    def _attach(self, job: int, follow: bool) -> Deferred[dict[str, Any]]:
        log: Deferred[JobLog] = self._slots.attach(JobId(job), follow)
        return log.addCallback(lambda log: {"log": pack_log(log)})

    @Reload.responder
    def _reload(self) -> dict[str, Any]:
        self._slots.reload()
        return {}


def records(values: Any, record: Callable[[Sequence[Any]], _Record]) -> list[_Record]:
    """The records of a packed list.

    Raises:
        Malformed: it is no list, or holds something else.
    """
    if type(values) is not list:
        raise Malformed("a list was expected")
    try:
        return [record(value) for value in values]
    except (TypeError, ValueError) as e:
        raise Malformed(f"a list of attempts is damaged: {e}") from None


def holding(value: Sequence[Any]) -> Holding:
    """An attempt from ``[job, term, number]``."""
    job, term, number, *_later = value
    if not all(type(part) is int for part in (job, term, number)):
        raise ValueError("an attempt is three numbers")
    return Holding(JobId(job), Attempt(term, number))


def _ended(value: Sequence[Any]) -> Ended:
    job, term, number, why, *_later = value
    if why not in _REASONS:
        raise ValueError(f"nothing is ended as {why!r:.40}")
    return Ended(*holding((job, term, number)), why)
