"""The pool for programs without a reactor of their own: scripts, notebooks, threads.

```python
from ampacity.blocking import Pool

with Pool() as pool:
    job = pool.submit(render, scene)
    for image in pool.map(render, scenes):
        ...
    print(job.result())
```

A reactor that runs already, in another thread, is used; otherwise one is started in a thread of
its own, once a process. Nothing here may be called on the reactor's thread, which would wait for
itself: that raises ``WrongThread`` at once.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from types import ModuleType, TracebackType
from typing import Any, Generic, ParamSpec, TypeAlias, TypeVar, cast, overload

from twisted.internet.defer import Deferred

from .client.background import call, forbid_reactor_thread, soon, wait
from .client.group import IN_FLIGHT, Errors, Group
from .client.info import JobInfo
from .client.job import Job as AsyncJob
from .client.pool import CONNECT_SECONDS
from .client.pool import Pool as AsyncPool
from .client.session import Session

P = ParamSpec("P")
T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

__all__ = ["Job", "Pool", "Results"]


class Job(Generic[T_co]):
    """One job."""

    def __init__(self, job: AsyncJob[T_co]) -> None:
        self._job = job

    def __repr__(self) -> str:
        return repr(self._job)

    @property
    def id(self) -> int | None:
        """None until the coordinator has accepted it."""
        return self._job.id

    @property
    def name(self) -> str:
        return self._job.name

    @property
    def ended(self) -> bool:
        """Whether the end of the job is known here."""
        return self._job.ended

    def accepted(self, timeout: float | None = None) -> int:
        """Wait for the job's id. Raises TimeoutError."""
        return wait(self._job.accepted, timeout)

    def result(self, timeout: float | None = None) -> T_co:
        """Wait for the value; raises the job's error, or TimeoutError, and the job goes on then.

        An interruption (Ctrl-C) cancels the job.
        """
        return wait(self._job.result, timeout, interrupted=self._job.cancel)

    def cancel(self) -> str:
        """End the job; the state that it had."""
        return wait(self._job.cancel)

    def retry(self) -> Job[T_co]:
        """Run it again, though it has ended; the new job. Raises Refused if it has not ended."""
        return Job(wait(self._job.retry))

    def forget(self) -> str:
        """Have the coordinator give it up: ``forgotten``, or the state that it has."""
        return wait(self._job.forget)

    def info(self) -> JobInfo:
        """All that the coordinator knows of it: its state, its attempts, its story."""
        return wait(self._job.info)


class Results(Sequence[T_co]):
    """The results of a ``map``, in order: to iterate over while they come, or a list.

    Anything that needs all of them waits for all of them. Failures are raised as by ``await`` and
    ``async for`` of the group.
    """

    def __init__(self, group: Group[T_co]) -> None:
        self._group = group
        self._list: list[T_co] | None = None
        self._streamed = False

    def __repr__(self) -> str:
        return repr(self._group) if self._list is None else repr(self._list)

    @property
    def id(self) -> str | None:
        """The group, as ``g3``; None until its first jobs are accepted."""
        return self._group.id

    def accepted(self, timeout: float | None = None) -> str:
        """Wait for the group's id."""
        return wait(self._group.accepted, timeout)

    def submitted(self, timeout: float | None = None) -> int:
        """Wait until all is accepted; the number of jobs."""
        return wait(self._group.submitted, timeout)

    def result(self, timeout: float | None = None) -> list[T_co]:
        """Wait for all results; raises ``JobsFailed``. An interruption cancels the jobs."""
        if self._list is None:
            self._list = wait(self._group.result, timeout, interrupted=self._group.cancel)
        return self._list

    def __iter__(self) -> Iterator[T_co]:
        if self._list is not None:
            return iter(self._list)
        self._streamed = True
        return _stream(self._group.__aiter__)

    def as_completed(self) -> Iterator[T_co]:
        """The results as they end."""
        return _stream(self._group.as_completed)

    def cancel(self) -> None:
        """End all its jobs, and submit no more."""
        wait(self._group.cancel)

    def retry_failed(self) -> Results[T_co]:
        """Run again what did not succeed; the group's results anew."""
        return Results(wait(self._group.retry_failed))

    def forget(self) -> int:
        """Have the coordinator give up those of its jobs that have ended; how many."""
        return wait(self._group.forget)

    def __len__(self) -> int:
        if self._list is None and self._streamed:
            # what list() does with an iterator; it goes on without
            raise TypeError("how many results there are is known when all are read")
        return len(self.result())

    @overload
    def __getitem__(self, place: int) -> T_co: ...
    @overload
    def __getitem__(self, place: slice) -> list[T_co]: ...
    def __getitem__(self, place: int | slice) -> T_co | list[T_co]:
        return self.result()[place]

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Results):
            return self is other or self.result() == other.result()
        return self.result() == other if isinstance(other, list) else NotImplemented

    __hash__ = None  # type: ignore[assignment]  # like a list


def _stream(begin: Callable[[], AsyncIterator[T]]) -> Iterator[T]:
    items = call(begin)

    async def take() -> list[T]:
        """The next item; none at the end, since StopAsyncIteration is no value."""
        try:
            return [await anext(items)]
        except StopAsyncIteration:
            return []

    def each() -> Iterator[T]:
        stream = cast(Any, items)
        try:
            while taken := wait(lambda: Deferred.fromCoroutine(take()), interrupted=stream.leave):
                yield taken[0]
        finally:
            soon(stream.leave)

    return each()


Which: TypeAlias = Job[Any] | Results[Any] | int | str
"""A job or its id, a group or its id (``g3``)."""


def _plain(which: Which | Iterable[Which]) -> Any:
    """What ``ampacity.Pool`` takes."""
    if isinstance(which, Job):
        return which._job
    if isinstance(which, Results):
        return which._group
    return which if isinstance(which, int | str) else [_plain(one) for one in which]


class Pool:
    """``ampacity.Pool`` with results that are waited for. Every method may be called from any
    thread but the reactor's.

    Leaving the ``with`` block waits for the jobs of a pool on this machine, or ends them, if an
    exception leaves it.
    """

    def __init__(
        self,
        *,
        python: str | os.PathLike[str] | None = None,
        setup: Callable[[], object] | str | None = None,
        slots: int | None = None,
    ) -> None:
        forbid_reactor_thread()
        self._begin(AsyncPool(python=python, setup=setup, slots=slots))

    @classmethod
    def connect(
        cls,
        address: str | None = None,
        *,
        token: str | None = None,
        token_file: str | os.PathLike[str] | None = None,
        wait: float = CONNECT_SECONDS,
        patience: float | None = None,
    ) -> Pool:
        """A pool of the coordinator at an address, or of the one that runs here; see
        ``ampacity.Pool.connect``."""
        forbid_reactor_thread()
        pool = AsyncPool.connect(
            address, token=token, token_file=token_file, wait=wait, patience=patience
        )
        return cls._of(pool)

    @classmethod
    def _of(cls, pool: AsyncPool) -> Pool:
        made = cls.__new__(cls)
        made._begin(pool)
        return made

    def _begin(self, pool: AsyncPool) -> None:
        self._pool = pool
        self._session: Session | None = None

    def options(self, **options: Any) -> Pool:
        """This pool with other options for its jobs; see ``ampacity.Pool.options``."""
        return self._of(self._pool.options(**options))

    def submit(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Job[T]:
        """Call ``function(*args, **kwargs)`` in a process; returns the job at once."""
        forbid_reactor_thread()
        session = self._session
        if session is None or self._pool.failed:
            session = self._session = call(self._pool.begin)
        job, hand_in = self._pool.prepare(session, function, args, kwargs)
        soon(hand_in)
        return Job(job)

    def map(
        self,
        function: Callable[..., T],
        /,
        *iterables: Any,
        errors: Errors = "raise",
        in_flight: int = IN_FLIGHT,
    ) -> Results[T]:
        """Call the function with the items of the iterables; see ``ampacity.Pool.map``.

        The iterables are walked on the reactor's thread.
        """
        begin = lambda: self._pool.map(  # noqa: E731  # it is called elsewhere
            function, *iterables, errors=errors, in_flight=in_flight
        )
        return Results(call(begin))

    def ship(self, module: ModuleType | str) -> None:
        """Send a module's source with all jobs that are submitted from here on."""
        self._pool.ship(module)

    def job(self, number: int | str) -> Job[Any]:
        """A job by its id."""
        return Job(call(lambda: self._pool.job(number)))

    def group(self, name: str | int) -> Results[Any]:
        """The results of a group by its id, ``g3``."""
        return Results(call(lambda: self._pool.group(name)))

    def jobs(
        self, *, name: str | None = None, state: str | None = None, group: str | int | None = None
    ) -> list[Job[Any]]:
        """The jobs that have this name, state or group, oldest first."""
        found = wait(lambda: self._pool.jobs(name=name, state=state, group=group))
        return [Job(job) for job in found]

    def retry(self, which: Which | Iterable[Which]) -> list[Job[Any]]:
        """Run again jobs that have ended, of groups those that did not succeed; the new jobs."""
        jobs = _plain(which)
        return [Job(job) for job in wait(lambda: self._pool.retry(jobs))]

    def forget(self, which: Which | Iterable[Which]) -> int:
        """Have the coordinator give up jobs that have ended, and all of groups; how many."""
        jobs = _plain(which)
        return wait(lambda: self._pool.forget(jobs))

    def ready(self, timeout: float | None = None) -> None:
        """Wait until jobs can run; raises the reason why they cannot."""
        wait(self._pool.ready, timeout)

    def close(self, grace: float | None = 0.0) -> None:
        """Take no more jobs, and stop; see ``ampacity.Pool.close``."""
        wait(lambda: self._pool.close(grace))

    def __enter__(self) -> Pool:
        try:
            self.ready()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close(grace=None if kind is None else 0.0)
