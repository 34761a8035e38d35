"""What happened, as its witnesses saw it, and whether that may happen.

Witnesses are the submitters (what they handed in, what they were told) and the slots (what they
ran). The coordinator is believed nothing. Each execution leaves a mark in the outcome that it
makes, so that every outcome can be followed to where it comes from.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable

import attrs
from ampacity.client.frames import Frame
from ampacity.protocol.errors import QueueFull, StorageFull
from ampacity.protocol.ids import Attempt, JobId
from ampacity.protocol.outcomes import Ending, unpack_outcome
from ampacity.testing.timeline import START, Timeline

from .work import Script

TROUBLE_ENDS = 40.0
"""Seconds after a fault in which its consequences may show: a silence, a lease, a way back."""


@attrs.define(eq=False)
class Execution:
    """One execution of a script, by the slots that ran it."""

    script: Script
    number: int
    """From 0, of this script and job."""
    job: JobId
    attempt: Attempt
    worker: str
    """The process."""
    began: float
    wall: float
    ended: float | None = None
    how: str = ""
    """An ending's words; ``killed``, ``lost``, ``superseded``, ``stopped``."""

    @property
    def mark(self) -> bytes:
        return b"%d/%d" % (self.job, self.number)


@attrs.define(eq=False)
class Ticket:
    """One submission, and what its submitter is told: ``client.frames.Entry``."""

    history: History
    client: str
    script: Script
    store: int
    """Which of the stores it was meant for: outcomes of another are none."""
    id: JobId | None = None
    frame: Frame | None = None
    ending: Ending | None = None
    body: bytes = b""
    error: Exception | None = None
    given_up: bool = False
    """Its submitter is dead."""
    cancelled: bool = False
    forgotten: bool = False
    """Somebody has asked to forget the job."""
    told: int = 0

    @property
    def over(self) -> bool:
        return self.told > 0 or self.given_up

    def was_accepted(self, job: JobId) -> None:
        self.id = job
        self.history.note("accepted", self.client, self.script.number, job)
        self.history.look(self.history.at_acceptance(self))

    def has_ended(self, ending: Ending, body: bytes) -> None:
        self.told += 1
        self.ending, self.body = ending, body
        self.history.note("outcome", self.client, self.script.number, self.id, ending.words)
        self.history.look(self.history.at_outcome(self))

    def has_failed(self, error: Exception) -> None:
        self.told += 1
        self.error = error
        self.history.note("failed", self.client, self.script.number, repr(error))


@attrs.define(eq=False)
class History:
    """All of it, with a trace for people."""

    timeline: Timeline
    trace: list[str] = attrs.field(factory=list)
    tickets: list[Ticket] = attrs.field(factory=list)
    executions: dict[JobId, list[Execution]] = attrs.field(factory=lambda: defaultdict(list))
    troubles: list[tuple[float, float, str]] = attrs.field(factory=list)
    """Faults: from when to when, and whom they concern; ``*``: everybody."""
    retried: set[int] = attrs.field(factory=set)
    """Scripts that somebody has asked to be run again, whether the answer came or not."""
    wrong: list[str] = attrs.field(factory=list)
    at_acceptance: Callable[[Ticket], str] = lambda ticket: ""
    at_outcome: Callable[[Ticket], str] = lambda ticket: ""
    """What is wrong with what a submitter was just told; or nothing."""

    def look(self, wrong: str) -> None:
        if wrong:
            self.wrong.append(wrong)
            self.note("WRONG", wrong)

    def note(self, *words: object) -> None:
        at = self.timeline.now - START
        self.trace.append(f"{at:10.4f} " + " ".join(map(str, words)))

    def trouble(self, whom: str, seconds: float = 0.0) -> None:
        """A fault, which begins now."""
        self.troubles.append((self.timeline.now, self.timeline.now + seconds, whom))

    # -- what slots say ---------------------------------------------------------------------------

    def held(self, worker: str, job: JobId, attempt: Attempt, twice: bool) -> None:
        self.note("held", worker, job, tuple(attempt))
        if twice:
            self.wrong.append(f"job {job}, attempt {tuple(attempt)} was assigned twice to {worker}")

    def began(self, script: Script, job: JobId, attempt: Attempt, worker: str) -> Execution:
        made = self.executions[job]
        now = self.timeline.now
        execution = Execution(script, len(made), job, attempt, worker, now, now)
        made.append(execution)
        self.note("begins", job, tuple(attempt), "on", worker)
        return execution

    def ended(self, execution: Execution, how: str) -> None:
        if execution.ended is None:
            execution.ended, execution.how = self.timeline.now, how
            self.note("ends", execution.job, tuple(execution.attempt), how)

    # -- whether it may be ------------------------------------------------------------------------

    def check(self, max_losses: int) -> list[str]:
        """What is wrong, in sentences."""
        wrong = list(self.wrong)
        for ticket in self.tickets:
            wrong.extend(self._of_ticket(ticket))
        for job, executions in self.executions.items():
            wrong.extend(self._of_job(job, executions, max_losses))
        return [*wrong, *self._of_keys(), *self._unexpected()]

    def _unexpected(self) -> Iterable[str]:
        """Jobs that nobody was told the id of: only the dead, who had no time to hear it."""
        known = {ticket.id for ticket in self.tickets}
        unheard = {t.script.number for t in self.tickets if t.id is None}
        for job, executions in self.executions.items():
            number = executions[0].script.number
            if job not in known and number not in unheard | self.retried:
                yield f"job {job} runs script {number}, and nobody has submitted it as that"

    def _of_ticket(self, ticket: Ticket) -> Iterable[str]:
        name = f"script {ticket.script.number} of {ticket.client} (job {ticket.id})"
        if ticket.told > 1:
            yield f"{name} was delivered {ticket.told} times"
        if ticket.told == 0 and not ticket.given_up:
            yield f"{name} is lost: its submitter waits for ever"
        if ticket.error is not None:
            yield from self._of_error(name, ticket, ticket.error)
        if ticket.ending is not None and ticket.id is not None:
            yield from self._of_outcome(name, ticket, ticket.id, ticket.ending)

    def _of_error(self, name: str, ticket: Ticket, error: Exception) -> Iterable[str]:
        """A refusal is told before anything is promised, and for a reason."""
        if ticket.id is not None:
            yield f"{name} was accepted, and fails with {error!r}"
        elif not isinstance(error, QueueFull | StorageFull) or not self.troubles:
            yield f"{name} was refused: {error!r}"

    def _of_outcome(self, name: str, ticket: Ticket, job: JobId, ending: Ending) -> Iterable[str]:
        mark = unpack_outcome(ticket.body).tail
        executions = self.executions.get(job, [])
        by_mark = {execution.mark: execution for execution in executions}
        spec = ticket.script.spec
        made_by = by_mark.get(mark)
        by_itself = ending in (Ending.SUCCEEDED, Ending.FAILED)
        if by_itself and (made_by is None or made_by.how != ending.words):
            yield f"{name}: the outcome {ending.words} of {mark!r} was made by no execution"
            return
        if made_by is not None and ending is not Ending.CRASHED:
            later = [e for e in executions if e.attempt > made_by.attempt]
            if later:
                yield f"{name}: stale: {tuple(made_by.attempt)}, and {later[-1].attempt} has begun"
        may_be_cancelled = any(map(self._may_be_cancelled, self._of(job)))
        if ending is Ending.CANCELLED and not may_be_cancelled:
            yield f"{name} was cancelled, and nobody has asked for it"
        timed = any(_has_limit(ticket.script) for ticket in self._of(job))
        if ending is Ending.TIMED_OUT and not timed:
            yield f"{name} timed out without a limit: {spec}"

    def _of(self, job: JobId) -> Iterable[Ticket]:
        return (ticket for ticket in self.tickets if ticket.id == job)

    def _may_be_cancelled(self, ticket: Ticket) -> bool:
        """Somebody asked for it, or its session was away for too long."""
        orphan = ticket.script.spec.orphans == "cancel"
        return ticket.cancelled or (orphan and self._any_trouble(ticket.client))

    def _any_trouble(self, name: str) -> bool:
        return any(whom == "*" or name.startswith(whom) for _, _, whom in self.troubles)

    def _of_job(self, job: JobId, executions: list[Execution], max_losses: int) -> Iterable[str]:
        attempts = [execution.attempt for execution in executions]
        if len(set(attempts)) < len(attempts):
            yield f"job {job}: an attempt was executed twice: {attempts}"
        spec = executions[0].script.spec
        bound = max_losses if spec.max_losses is None else spec.max_losses + 1
        lost = sum(execution.how == "lost" for execution in executions)
        # what a worker could tell nobody, before it and the coordinator died, is not counted
        if lost > bound + len({attempt.term for attempt in attempts}) - 1:
            yield f"job {job} has lost {lost} children, the bound is {bound}"
        retried = 0
        for execution in executions[:-1]:
            if execution.how in ("lost", "stopped") or self._troubled(execution):
                continue  # its report, if there was one, need not have come in time
            if execution.how in ("failed", "timed out") and retried < spec.retries:
                retried += 1
            else:
                yield f"job {job} was executed again after {execution.how} without a fault"
        for ticket in self.tickets:
            if ticket.id == job and ticket.ending is Ending.CRASHED and lost < bound:
                gone = sum(e.how in ("lost", "killed", "superseded") for e in executions)
                troubled = sum(map(self._troubled, executions))
                if max(gone, troubled) < bound:
                    yield f"job {job} crashed after {gone} losses, the bound is {bound}"

    def _troubled(self, execution: Execution) -> bool:
        """Whether a fault may be to blame for the end of an attempt."""
        until = (execution.ended or self.timeline.now) + 1.0
        return any(
            begin <= until and execution.began <= end + TROUBLE_ENDS
            for begin, end, whom in self.troubles
            if whom == "*" or execution.worker.startswith(whom)
        )

    def _of_keys(self) -> Iterable[str]:
        ids: dict[tuple[str, str], set[JobId]] = defaultdict(set)
        for ticket in self.tickets:
            if ticket.script.key is not None and ticket.id is not None:
                name = f"{ticket.client.partition('.')[0]} {ticket.store}"
                ids[name, ticket.script.key].add(ticket.id)
        for (client, key), jobs in ids.items():
            if len(jobs) > 1:
                yield f"the key {key} of {client} is {len(jobs)} jobs: {sorted(jobs)}"


def _has_limit(script: Script) -> bool:
    return script.spec.timeout is not None or script.spec.deadline is not None
