"""Fetches the blobs of attempts before these are given to a child."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from twisted.internet.defer import Deferred, FirstError, fail, gatherResults, maybeDeferred
from twisted.python.failure import Failure

from ..protocol.errors import AmpacityError, CoordinatorLost, NoSuchBlob
from ..protocol.jobs import BlobRef
from ..protocol.ports import WorkerEvents
from .held import Held, Plan, State
from .rights import JobUser


class Fetching:
    """``fetched(held)`` or ``failed(held, error)`` follows each ``add``; no error means that
    the connection went and the attempt may be given back."""

    def __init__(
        self,
        fetched: Callable[[Held], None],
        failed: Callable[[Held, AmpacityError | None], None],
        user: JobUser | None = None,
    ) -> None:
        """``user``: who is let read what was fetched, where children are another user's."""
        self._fetched = fetched
        self._failed = failed
        self._user = user
        self._events: WorkerEvents | None = None
        self._unbound: list[Held] = []

    def bind(self, events: WorkerEvents | None) -> None:
        """Fetch through this one."""
        self._events = events
        unbound, self._unbound = self._unbound, []
        for held in unbound if events is not None else ():
            self.add(held)

    def add(self, held: Held) -> None:
        """Fetch what an attempt needs: its spec's blobs, once for all, and its own payload."""
        held.state = State.FETCHING
        plan = held.plan
        if self._events is None:
            self._unbound.append(held)
        elif plan.ready:
            self._fetch_payload(held)
        elif plan.fetching is not None:
            plan.fetching.append(held)
        else:
            plan.fetching = [held]
            self._fetch(list(plan.spec.blobs())).addCallbacks(
                lambda paths: self._plan_fetched(plan, paths),
                lambda failure: self._plan_failed(plan, failure),
            )

    def _fetch(self, refs: list[BlobRef]) -> Deferred[list[Path]]:
        events = self._events
        if events is None:
            return fail(CoordinatorLost())
        calls = [maybeDeferred(events.fetch, ref).addCallback(self._let_read) for ref in refs]
        return gatherResults(calls, consumeErrors=True)

    def _let_read(self, path: Path) -> Path:
        if self._user is not None:
            self._user.let_read(path)
        return path

    def _plan_fetched(self, plan: Plan, paths: list[Path]) -> None:
        names = [str(path) for path in paths]
        if plan.spec.function is not None:
            plan.function = names.pop(0)
        plan.ships = names
        plan.ready = True
        waiting, plan.fetching = plan.fetching or [], None
        for held in waiting:
            self._fetch_payload(held)

    def _plan_failed(self, plan: Plan, failure: Failure) -> None:
        waiting, plan.fetching = plan.fetching or [], None
        for held in waiting:
            self._failed(held, _lasting(failure))

    def _fetch_payload(self, held: Held) -> None:
        payload = held.payload
        if type(payload) is bytes:
            self._fetched(held)
            return
        assert isinstance(payload, BlobRef)

        def here(paths: list[Path]) -> None:
            held.path = str(paths[0])
            self._fetched(held)

        self._fetch([payload]).addCallbacks(
            here, lambda failure: self._failed(held, _lasting(failure))
        )


def _lasting(failure: Failure) -> AmpacityError | None:
    """Why a blob cannot be had; nothing where the connection is to blame."""
    error = failure.value
    if isinstance(error, FirstError):
        error = error.subFailure.value
    if isinstance(error, AmpacityError) and not isinstance(error, CoordinatorLost):
        return error
    return None


def message(error: AmpacityError) -> str:
    """What to say of a job whose blob cannot be had."""
    if isinstance(error, NoSuchBlob):
        return f"the function or an argument of the job is not stored any more: {error}"
    return f"the function or an argument of the job cannot be fetched: {error}"
