"""The clients of a virtual cluster, and its other processes as the kit has them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from typing import Any

from ampacity.client.remote import RemoteLink, Target
from ampacity.client.session import Session
from ampacity.client.tallies import GroupTally
from ampacity.protocol.addresses import Address
from ampacity.protocol.ids import JobId, SessionId
from ampacity.testing.processes import WorkerProcess, token_of
from ampacity.testing.timeline import Process
from ampacity.workers.agent import Agent
from twisted.internet.defer import maybeDeferred

from .history import History, Ticket
from .work import Script


class LoadedWorker(WorkerProcess):
    """A worker whose agent tells of its load, too."""

    agent_class = Agent


# -- a client --------------------------------------------------------------------------------------


class ClientProcess:
    """A session that submits, waits, and is told."""

    def __init__(
        self, process: Process, door: Path, history: History, random: Random, store: int
    ) -> None:
        self.process = process
        self.tickets: list[Ticket] = []
        self._history = history
        self._store = store
        self.session = Session(process, maybeDeferred)
        self.session.id = SessionId(random.randbytes(16))
        target = Target(Address(path=door), token_of("client", process.machine.name))
        self.link = RemoteLink(process, target, 30.0)
        self.link._random = random  # type: ignore[assignment]  # not the system's
        self._open()
        process.at_death.append(self._died)

    def _open(self) -> None:
        """Until it works: a program that was told that nobody answers tries again."""
        self.link.open(self.session).addErrback(self._not_open)

    def _not_open(self, failure: Any) -> None:
        self._history.note(self.process.name, "cannot open:", failure.value)
        self.process.callLater(1.0, self._open)

    def submit(self, script: Script, tally: GroupTally | None = None, place: int = 0) -> None:
        ticket = self._ticket(script)
        self._history.note("submit", self.process.name, script.number)
        self.session.submit(
            ticket,
            script.packed(),
            script.payload,
            key=script.key,
            tally=tally,
            place=None if tally is None else place,
        )
        if script.cancel_after is not None:
            self.process.callLater(script.cancel_after, self._cancel, ticket)

    def submit_group(self, scripts: Sequence[Script]) -> None:
        """As ``map`` does."""
        tally = GroupTally(self.session.new_group_number())
        for place, script in enumerate(scripts):
            self.submit(script, tally, place)
        tally.close(self.session.requests)

    def expect(self, script: Script, job: JobId) -> None:
        """Wait for what an earlier life of this program has submitted."""
        ticket = self._ticket(script)
        ticket.id = job
        self._history.note("expect", self.process.name, job)
        self.session.expect(job, ticket)

    def _ticket(self, script: Script) -> Ticket:
        ticket = Ticket(self._history, self.process.name, script, self._store)
        self.tickets.append(ticket)
        self._history.tickets.append(ticket)
        return ticket

    def _cancel(self, ticket: Ticket) -> None:
        if not ticket.over:
            ticket.cancelled = True
            self._history.note("cancel", self.process.name, ticket.script.number, ticket.id)
            self.session.cancel(ticket).addBoth(
                lambda state: self._history.note("was", ticket.script.number, state)
            )

    # -- jobs that have ended ---------------------------------------------------------------------

    def _told(self, most: int) -> list[Ticket]:
        """Some of its jobs that have ended and that nobody else may be waiting for."""
        alone = [t for t in self.tickets if t.ending is not None and t.script.key is None]
        return [t for t in alone if not t.forgotten][:most]

    def retry(self, most: int) -> None:
        """Run some again, and wait for that."""
        by_id = {t.id: t.script for t in self._told(most) if t.id is not None}
        self._history.note("retry", self.process.name, list(by_id))
        self._history.retried.update(script.number for script in by_id.values())

        def again(ids: dict[int, int]) -> None:
            for old, new in sorted(ids.items()):
                self.expect(by_id[JobId(old)], JobId(new))

        asked = self.session.requests.call(lambda c: c.retry(list(by_id)), again=False)
        asked.addCallbacks(again, lambda _: None)

    def forget(self, most: int) -> None:
        """Give some up: nobody can read them any more."""
        jobs = []
        for ticket in self._told(most):
            ticket.forgotten = True
            if ticket.id is not None:
                jobs.append(ticket.id)
        self._history.note("forget", self.process.name, jobs)
        self.session.requests.call(lambda c: c.forget(jobs)).addErrback(lambda _: None)

    def read(self, ticket: Ticket, told: Callable[[Ticket, Any], None]) -> None:
        """Ask for the outcome of a job, as somebody who comes later would."""
        details = {"job": ticket.id}
        asked = self.session.requests.call(lambda c: c.query("result", details))
        asked.addBoth(lambda answer: told(ticket, answer))

    def waits(self) -> bool:
        return not all(ticket.over for ticket in self.tickets)

    def _died(self) -> None:
        for ticket in self.tickets:
            ticket.given_up = ticket.told == 0
