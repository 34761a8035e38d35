"""The command line as a client: what it asks of a coordinator, and how it waits for jobs."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from ..client.frames import Frame
from ..client.session import Session
from ..client.tallies import GroupTally
from ..protocol.errors import NoCoordinator
from ..protocol.ids import JobId
from ..protocol.jobs import BlobRef
from ..protocol.limits import INLINE_LIMIT
from ..protocol.outcomes import Delivery, Ending, JobLog
from ..protocol.ports import Coordinator
from ..protocol.transfers import DeferToThread
from .failures import say
from .rendering import span
from .scopes import scoped_details

Sink = Callable[[int, bytes], "Deferred[bool]"]
"""Takes a job's output: the stream (1 or 2) and the bytes."""


LOST_PATIENCE = 600.0
"""Seconds that a coordinator which went away is waited for, unless the user says otherwise."""


class ToldSession(Session):
    """A session whose user is told when the connection goes and comes.

    A coordinator that went away is waited for ``patience`` seconds; then all that is asked of it
    fails with ``NoCoordinator``.
    """

    leaving = False
    """We go ourselves, or have sent the coordinator away."""
    lost = False
    """The coordinator cannot be reached now."""
    hands_in = False
    """Jobs are submitted and left: an end that comes meanwhile is not taken, or it would count as
    fetched."""

    def __init__(
        self,
        reactor: IReactorTime,
        defer_to_thread: DeferToThread,
        patience: float = LOST_PATIENCE,
    ) -> None:
        super().__init__(reactor, defer_to_thread)
        self._clock = reactor
        self._patience = patience
        self._giving_up: IDelayedCall | None = None

    def delivered(self, outcomes: Sequence[Delivery]) -> Deferred[None]:
        return Deferred() if self.hands_in else super().delivered(outcomes)

    def disconnected(self) -> None:
        super().disconnected()
        if not self.leaving and not self.lost:
            self.lost = True
            self._giving_up = self._clock.callLater(self._patience, self._give_up)
            tried = f"trying again for {span(self._patience)}, Ctrl-C leaves"
            say(f"the connection to the coordinator is lost; {tried}")

    def connected(self, coordinator: Coordinator, next_sequence: int) -> None:
        if self.lost:
            self.lost = False
            self._wait_no_more()
            say("connected again")
        super().connected(coordinator, next_sequence)

    def _give_up(self) -> None:
        self._giving_up = None
        gone = f"the coordinator went away, and did not come back within {span(self._patience)}"
        self.fail_all(NoCoordinator(gone))

    def _wait_no_more(self) -> None:
        if self._giving_up is not None:
            self._giving_up.cancel()
            self._giving_up = None

    def fail_all(self, error: Exception) -> None:
        self._wait_no_more()
        super().fail_all(error)

    def close(self) -> Deferred[None]:
        self._wait_no_more()
        return super().close()


@attrs.define(eq=False)
class Ticket:
    """One job that is waited for. Implements ``client.frames.Entry``."""

    session: Session
    sink: Sink | None = None
    id: JobId | None = None
    frame: Frame | None = None
    delivery: Delivery | None = None
    error: Exception | None = None
    _accepting: Deferred[None] | None = None
    _ending: Deferred[None] | None = None

    async def accepted(self) -> JobId:
        """The job's id; raises why the job was not accepted."""
        if self.id is None and self.error is None:
            self._accepting = Deferred()
            await self._accepting
        if self.error is not None:
            raise self.error
        assert self.id is not None
        return self.id

    async def ended(self) -> Delivery:
        """How the job ended; raises why that will not be known."""
        if self.delivery is None and self.error is None:
            self._ending = Deferred()
            await self._ending
        if self.error is not None:
            raise self.error
        assert self.delivery is not None
        return self.delivery

    def was_accepted(self, job: JobId) -> None:
        self.id = job
        if self.sink is not None:
            self.session.following[job] = self.sink
        _fire(self._accepting)

    def has_ended(self, ending: Ending, body: bytes) -> None:
        # a job that was cancelled before it was sent has no id
        self.delivery = Delivery(self.id or JobId(0), ending, body)
        self._wake()

    def has_failed(self, error: Exception) -> None:
        self.error = error
        self._wake()

    def _wake(self) -> None:
        if self.id is not None and self.sink is not None:
            self.session.following.pop(self.id, None)
        _fire(self._accepting)
        _fire(self._ending)


def _fire(waiting: Deferred[None] | None) -> None:
    if waiting is not None and not waiting.called:
        waiting.callback(None)


@attrs.define(eq=False)
class Link:
    """A coordinator, by way of a session that connects again when it has to."""

    session: Session
    own: bool = False
    """It is a pool of our own: its jobs end with us."""
    whose: str | None = None
    """Whose jobs the lists are of, see ``scopes``; none: our own."""
    _ships: list[tuple[BlobRef, bytes]] = attrs.field(factory=list)

    @property
    def lost(self) -> bool:
        """The coordinator cannot be reached, and nobody knows whether it still has our jobs."""
        return isinstance(self.session, ToldSession) and self.session.lost

    # -- jobs of ours -----------------------------------------------------------------------------

    def ship(self, packed: bytes) -> BlobRef:
        """A packed module goes with what is submitted from here on."""
        ref = BlobRef(hashlib.sha256(packed).digest(), len(packed))
        self._ships.append((ref, packed))
        return ref

    def submit(
        self,
        spec: bytes,
        payload: bytes,
        key: str | None = None,
        tally: GroupTally | None = None,
        place: int | None = None,
        sink: Sink | None = None,
    ) -> Ticket:
        """Submit a job; ``sink`` takes what it prints, where its spec asks for that."""
        ticket = Ticket(self.session, sink)
        if len(payload) > INLINE_LIMIT:
            large = self.session.submit_large
            large(ticket, spec, payload, self._ships, key, tally, place)
        else:
            self.session.submit(ticket, spec, payload, self._ships, key, tally, place)
        return ticket

    def close_group(self, tally: GroupTally) -> None:
        """No more jobs go into this group."""
        tally.close(self.session.requests)

    @property
    def warning(self) -> str | None:
        """What the coordinator said of the last submissions: nobody can take them."""
        return self.session.last_warning

    def expect(self, job: JobId) -> Ticket:
        """Wait for a job that was submitted before."""
        ticket = Ticket(self.session, id=job)
        self.session.expect(job, ticket)
        return ticket

    # -- questions --------------------------------------------------------------------------------

    def _ask(self, ask: Callable[[Any], Deferred[Any]], again: bool = True) -> Deferred[Any]:
        return self.session.requests.call(ask, again)

    def query(self, question: str, **details: Any) -> Deferred[Any]:
        """Ask; ``docs/reference/protocol.md`` has the questions and their answers."""
        asked = scoped_details(question, details, self.whose)
        return self._ask(lambda coordinator: coordinator.query(question, asked))

    def cancel(self, jobs: Sequence[JobId], queued_only: bool = False) -> Deferred[dict[int, str]]:
        """End jobs; fires with the state that each one had."""
        return self._ask(lambda coordinator: coordinator.cancel(jobs, queued_only))

    def retry(self, jobs: Sequence[JobId]) -> Deferred[dict[int, int]]:
        """Run ended jobs again, once; fires with new ids by old ids."""
        return self._ask(lambda coordinator: coordinator.retry(jobs), again=False)

    def attach(self, job: JobId, sink: Sink | None = None) -> Deferred[tuple[JobLog, bool]]:
        """What a job printed so far, and whether more will come to ``sink``."""
        if sink is not None:
            self.session.following[job] = sink
        return self._ask(lambda coordinator: coordinator.attach(job, sink is not None), again=False)

    def detach(self, job: JobId) -> None:
        """No more of a job's output."""
        self.session.following.pop(job, None)
        self._ask(lambda coordinator: coordinator.detach(job)).addErrback(lambda _: None)

    def blob(self, ref: BlobRef) -> Deferred[Path]:
        """A large value as a file."""
        return self._ask(lambda coordinator: coordinator.get_blob(ref))

    def forget(self, jobs: Sequence[JobId]) -> Deferred[dict[int, str]]:
        """Give up ended jobs; fires with ``forgotten`` or the state that each has."""
        return self._ask(lambda coordinator: coordinator.forget(jobs))

    def drain_worker(self, name: str) -> Deferred[None]:
        """Have a worker finish what runs, and leave."""
        return self._ask(lambda coordinator: coordinator.drain_worker(name))

    def backup(self, folder: Path) -> Deferred[dict[str, Any]]:
        """Copy the coordinator's store into a new folder on its machine."""
        return self._ask(lambda coordinator: coordinator.backup(folder), again=False)

    def reload_workers(self) -> Deferred[int]:
        """Replace the children of all workers; fires with the number of workers."""
        return self._ask(lambda coordinator: coordinator.reload_workers())

    def create_token(
        self, role: str, lifetime: float | None, name: str | None
    ) -> Deferred[tuple[str, str]]:
        """Make a token; fires with the line to paste and the id."""
        return self._ask(lambda coordinator: coordinator.create_token(role, lifetime, name), False)

    def list_tokens(self) -> Deferred[list[dict[str, Any]]]:
        """Every token that is good."""
        return self._ask(lambda coordinator: coordinator.list_tokens())

    def revoke_token(self, token: str, joined: bool) -> Deferred[list[str]]:
        """Take a token back, and with ``joined`` what it was exchanged for; fires with the ids."""
        return self._ask(lambda coordinator: coordinator.revoke_token(token, joined), False)

    def shutdown(self) -> Deferred[None]:
        """Ask the coordinator to stop."""
        return self._ask(lambda coordinator: coordinator.shutdown(), again=False)
