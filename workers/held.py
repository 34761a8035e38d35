"""What a worker holds: attempts, and the plans that the attempts of one spec share."""

from __future__ import annotations

import os
from collections.abc import Sequence
from enum import IntEnum
from typing import TYPE_CHECKING, Any, NamedTuple

from ..protocol.errors import Malformed
from ..protocol.ids import Attempt, ClientId, JobId
from ..protocol.jobs import BlobRef, JobSpec, Payload, unpack_spec
from ..protocol.outcomes import JobLog, pack_log
from ..protocol.ports import Holding
from .errands import Done, pack_batch
from .streams import HeadTail

if TYPE_CHECKING:
    from .attached import Attached

_KEPT_PLANS = 1024


class State(IntEnum):
    """Where an attempt is, on this worker."""

    FETCHING = 1
    WAITING = 2
    GIVEN = 3
    """A child has it, begun or not: the child's permits tell."""
    GONE = 4
    """Reported, given back, or dropped."""


UNBEGUN = frozenset({State.WAITING, State.FETCHING})


class Context(NamedTuple):
    """What a child is bound to from its first job on."""

    client: str
    folder: str | None
    """The submitter's folder, where the submitter is on this machine."""
    cwd: str | None
    path: tuple[str, ...]
    """The submitter's other folders to import from, where it is on this machine."""
    ships: tuple[bytes, ...]


class Plan:
    """A client's spec, unpacked, with what its jobs share here."""

    __slots__ = ("context", "fetching", "function", "key", "ready", "ships", "spec", "spec_bytes")

    def __init__(self, client: ClientId, spec_bytes: bytes, host: str) -> None:
        spec = unpack_spec(spec_bytes)
        self.spec: JobSpec = spec
        self.spec_bytes = spec_bytes
        here = spec.host == host
        folder = spec.folder if spec.cwd is None and here else None
        path = spec.path if here else ()
        digests = tuple(ship.digest for ship in spec.ships)
        self.context = Context(client, folder, spec.cwd, path, digests)
        function = spec.function.digest if spec.function is not None else b""
        self.key = (spec.kind, spec.target, function)
        """What durations are remembered by."""
        self.ready = not spec.blobs()
        self.fetching: list[Held] | None = None
        """Attempts that wait for the blobs of the plan, while these are fetched."""
        self.function: str | None = None
        self.ships: list[str] = []

    def stale(self) -> bool:
        """Whether files that were fetched for it are gone: nothing kept them between its jobs."""
        files = self.ships if self.function is None else [self.function, *self.ships]
        return not all(map(os.path.exists, files))

    def packed_context(self) -> list[Any]:
        """As ``errands.pack_batch`` wants it."""
        context = self.context
        return [context.client, context.folder, context.cwd, context.path, self.ships]


class Plans:
    """The plans of the specs that were seen lately, by client and bytes."""

    def __init__(self, host: str) -> None:
        self._host = host
        self._plans: dict[tuple[str, bytes], Plan] = {}

    def of(self, client: ClientId, spec: bytes) -> Plan | None:
        """The plan of a spec; None where the spec is malformed."""
        plan = self._plans.get((client, spec))
        if plan is not None and not plan.stale():
            return plan
        if len(self._plans) >= _KEPT_PLANS:
            self._plans.clear()
        try:
            plan = self._plans[client, spec] = Plan(client, spec, self._host)
        except Malformed:
            return None
        return plan


class Held:
    """One attempt, from its assignment to the acknowledgement of its report."""

    __slots__ = (
        "announced", "attached", "attempt", "done", "job", "order", "path", "payload", "plan",
        "since", "state", "stderr", "stdout", "why",
    )  # fmt: skip

    def __init__(self, job: JobId, attempt: Attempt, plan: Plan, payload: Payload) -> None:
        self.job = job
        self.attempt = attempt
        self.plan = plan
        self.payload: bytes | BlobRef = payload
        self.path: str | None = None
        """The file of a payload that came as a blob."""
        self.state = State.WAITING
        self.order: int
        self.since: float
        """When it came, by the reactor's clock. Both are set while it waits."""
        self.why: str | None = None
        """Why it is being ended: cancelled, deadline, superseded, timed out, stopped."""
        self.done: Done | None = None
        self.stdout: HeadTail | None = None
        self.stderr: HeadTail | None = None
        self.announced = False
        self.attached: Attached | None = None

    def holding(self) -> Holding:
        """Its name on the wire."""
        return Holding(self.job, self.attempt)

    def printed(self, stream: int, data: bytes) -> int:
        """Keep what it printed; how much it had printed there before."""
        if stream == 1:
            kept = self.stdout = self.stdout or HeadTail()
        else:
            kept = self.stderr = self.stderr or HeadTail()
        before = kept.total
        kept.add(data)
        return before

    @property
    def has_printed(self) -> bool:
        """Whether anything is kept of its output."""
        return self.stdout is not None or self.stderr is not None

    def log(self) -> JobLog:
        """What it printed, as far as it is kept."""
        if not self.has_printed:
            return JobLog()
        return JobLog(*((kept or HeadTail()).log() for kept in (self.stdout, self.stderr)))

    def packed_log(self) -> bytes:
        """The log for a report; no bytes for no output."""
        return pack_log(self.log()) if self.has_printed else b""

    def tail(self, size: int = 4096) -> bytes:
        """The last bytes that it printed: on stderr, or else on stdout."""
        for kept in (self.stderr, self.stdout):
            if kept is not None and kept.total:
                return kept.last(size)
        return b""


def holdings(attempts: Sequence[Held]) -> list[Holding]:
    """The names of these."""
    return [held.holding() for held in attempts]


def packed(batch: Sequence[Held], patience: float) -> bytes:
    """A batch of one context for a child, see ``errands.pack_batch``."""
    specs: list[Any] = []
    places: dict[int, int] = {}
    jobs: list[Any] = []
    for held in batch:
        plan = held.plan
        place = places.get(id(plan))
        if place is None:
            place = places[id(plan)] = len(specs)
            specs.append((plan.spec_bytes, plan.function))
        payload = held.payload if held.path is None else None
        jobs.append((held.job, *held.attempt, place, payload, held.path))
    return pack_batch(batch[0].plan.packed_context(), specs, jobs, patience)
