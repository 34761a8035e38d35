"""What the coordinator asks of a worker on another machine: the responders of an agent."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from ..protocol.commands import Assign, AttachWorker, Drain, EndAttempts, Reload, Retract
from ..protocol.errors import AmpacityError, Malformed
from ..protocol.ids import Attempt, JobId
from ..protocol.jobs import Assignment, unpack_assignments
from ..protocol.outcomes import JobLog, pack_log
from ..protocol.ports import Ended, Holding, WorkerPort
from ..protocol.responders import Responders

if TYPE_CHECKING:
    from .uplink import Uplink

_Record = TypeVar("_Record")
_REASONS = frozenset({"cancelled", "deadline", "superseded"})


class Orders(Responders):
    """Hands the orders of one connection to the slots.

    One that raises what it should not is refused; the coordinator then takes this worker for one
    that has left. It may send the same order again to the same end, so ``said``, which outlives
    the connection, holds what the log has been told.
    """

    _log = Logger()

    def __init__(
        self,
        slots: WorkerPort,
        uplink: Uplink,
        leaving: bool = False,
        said: set[str] | None = None,
    ) -> None:
        self._slots = slots
        self._uplink = uplink
        self._late: list[Holding] = []
        self._said = set() if said is None else said
        self.leaving = leaving
        """Begin no job any more."""

    def give_back(self) -> None:
        """What came after the worker had begun to leave; once it offers nothing, or at its end:
        before that it would come again."""
        late, self._late = self._late, []
        self._uplink.returned(late)

    @Assign.responder
    def _assign(self, jobs: bytes) -> dict[str, Any]:
        return self._carry_out("Assign", self._take, unpack_assignments(jobs))

    def _take(self, assignments: list[Assignment]) -> None:
        if self.leaving:
            self._late += [Holding(a.job, a.attempt) for a in assignments]
        else:
            self._uplink.assigned(assignments)
            self._slots.assign(assignments)

    @EndAttempts.responder
    def _end(self, attempts: Any) -> dict[str, Any]:
        return self._carry_out("EndAttempts", self._end_all, records(attempts, _ended))

    def _end_all(self, ended: list[Ended]) -> None:
        self._slots.end(ended)
        self._uplink.drop([Holding(e.job, e.attempt) for e in ended if e.why == "superseded"])

    @Retract.responder
    def _retract(self, attempts: Any) -> dict[str, Any]:
        return self._carry_out("Retract", self._slots.retract, records(attempts, holding))

    @AttachWorker.responder
    def _attach(self, job: int, follow: bool) -> Deferred[dict[str, Any]]:
        log: Deferred[JobLog] = self._slots.attach(JobId(job), follow)
        return log.addCallback(lambda log: {"log": pack_log(log)})

    @Reload.responder
    def _reload(self) -> dict[str, Any]:
        return self._carry_out("Reload", self._slots.reload)

    @Drain.responder
    def _drain(self) -> dict[str, Any]:
        return self._carry_out("Drain", self._slots.drain)

    def _carry_out(self, name: str, order: Callable[..., None], *what: Any) -> dict[str, Any]:
        try:
            order(*what)
        except AmpacityError:
            raise
        except Exception as e:  # noqa: BLE001  # a mistake in here: the other side is told
            why = f"{name} cannot be carried out: {type(e).__name__}: {e}"
            if why not in self._said:
                self._said.add(why)
                self._log.failure("an order of the coordinator failed")
            raise Malformed(why) from None
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
