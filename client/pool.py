"""The pool: where jobs are submitted, on this machine or through a coordinator."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable
from functools import partial
from types import ModuleType, TracebackType
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from twisted.application.service import Service
from twisted.internet.defer import Deferred

from ..protocol.errors import BadOption, PoolClosed
from ..protocol.ids import GroupId, JobId, parse_group
from ..protocol.jobs import BlobRef
from ..protocol.limits import INLINE_LIMIT
from . import afterwards, found
from .awaiting import answer
from .buffers import Pieces
from .calls import pack_arguments
from .engine import Engine, MakeLink
from .feeding import feed
from .functions import Travelling, import_name, travelling
from .group import IN_FLIGHT, Errors, Group, Item
from .job import Job
from .options import Options
from .session import Session
from .ships import pack_module
from .specs import Specs

if TYPE_CHECKING:
    from .afterwards import Which

P = ParamSpec("P")
T = TypeVar("T")
Blobs = tuple[tuple[BlobRef, bytes], ...]
"""What a spec refers to."""

CONNECT_SECONDS = 5.0
"""For which the first connection to a coordinator is tried."""


class Pool(Service):
    """Runs functions in processes: of this machine, or, by ``Pool.connect``, of a coordinator.

    Nothing starts, and no reactor is touched, before the first use. A pool closes when its reactor
    stops. ``python`` is the interpreter of the children, ``setup`` a function, importable or as
    ``module:function``, that each child calls once, ``slots`` the number of children (default: the
    processors that this process may use).
    """

    def __init__(
        self,
        *,
        python: str | os.PathLike[str] | None = None,
        setup: Callable[[], object] | str | None = None,
        slots: int | None = None,
        reactor: Any = None,
    ) -> None:
        if slots is not None and (not isinstance(slots, int) or slots < 1):
            raise BadOption(f"slots is a number from 1, not {slots!r:.80}")
        interpreter = None if python is None else os.fsdecode(python)
        named_setup = _setup_name(setup)

        def make_link(reactor: Any) -> Any:
            from .local import LocalLink

            return LocalLink(reactor, slots=slots, python=interpreter, setup=named_setup)

        self._begin(Engine(make_link, reactor), Options())

    @classmethod
    def connect(
        cls,
        address: str | None = None,
        *,
        token: str | None = None,
        token_file: str | os.PathLike[str] | None = None,
        wait: float = CONNECT_SECONDS,
        patience: float | None = None,
        reactor: Any = None,
    ) -> Pool:
        """A pool of the coordinator at an address (``host:8786``, ``host:8786#TOKEN``,
        ``unix:/path``), or of the one that runs here.

        The first connection is tried for ``wait`` seconds; ``ready()`` and the jobs fail with
        ``NoCoordinator`` then. A connection that was lost later is made again for ``patience``
        seconds, without one for as long as it takes; the coordinator may be another process by
        then, over the same store. ``AMPACITY_COORDINATOR`` and ``AMPACITY_TOKEN_FILE`` stand in
        for what is not given.
        """
        from .remote import RemoteLink, Target

        target = Target.of(address, token, token_file)

        def make_link(reactor: Any) -> Any:
            return RemoteLink(reactor, target, wait, patience)

        return cls._over(make_link, reactor)

    @classmethod
    def _over(cls, make_link: MakeLink, reactor: Any = None) -> Pool:
        pool = cls.__new__(cls)
        pool._begin(Engine(make_link, reactor), Options())
        return pool

    def _begin(self, engine: Engine, options: Options) -> None:
        self._engine = engine
        self._options = options
        self._specs = Specs(engine, options)

    # -- submitting -------------------------------------------------------------------------------

    def options(self, **options: Any) -> Pool:
        """This pool with other options for its jobs: ``timeout`` (seconds an attempt may run),
        ``deadline`` (seconds until the end: queueing, all attempts and the pauses between them),
        ``retries`` (attempts more after one that failed or timed out), ``retry_on`` (the errors
        that are worth one), ``backoff`` (seconds before the first, then twice as long each time),
        ``max_losses`` (deaths of its process or worker that it survives; 0: it never runs twice),
        ``name``, ``key``, ``cwd``, ``env``, ``orphans="cancel"``, and ``results="data"``: nothing
        that comes from a worker is unpickled, results are plain data (None, bool, int, float, str,
        bytes, lists and dicts of them), and exceptions arrive as ``JobFailed``, a text.

        Raises:
            BadOption: there is no such option, or its value does not fit.
        """
        view = type(self).__new__(type(self))
        view._begin(self._engine, self._options.with_(options))
        return view

    def submit(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Job[T]:
        """Call ``function(*args, **kwargs)`` in a process; returns the job at once.

        The arguments are packed before this returns. What goes wrong later arrives through the
        job's result.

        Raises:
            TypeError: it cannot be called, or not with these arguments.
            NotPackable: the function, or the argument that is named, cannot be packed.
            PoolClosed: the pool is closed.
            WrongThread: this is not the thread of the reactor.
        """
        session = self._engine.session()
        job, spec, payload, blobs = self._pack(session, function, args, kwargs)
        if isinstance(payload, bytes) and len(payload) <= INLINE_LIMIT:
            session.submit(job, spec, payload, blobs, self._options.key)
        else:
            session.submit_large(job, spec, payload, blobs, self._options.key)
        return job

    @property
    def failed(self) -> bool:
        """Whether ``begin`` is due again: the coordinator was given up."""
        return self._engine.failed

    def begin(self) -> Session:
        """Start, on the reactor's thread, for ``prepare``."""
        return self._engine.session()

    def prepare(
        self,
        session: Session,
        function: Callable[..., T],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> tuple[Job[T], Callable[[], object]]:
        """The packed job, and what hands it in on the reactor's thread. Safe in any thread."""
        if self._engine.closed:
            raise PoolClosed
        job, spec, payload, blobs = self._pack(session, function, args, kwargs)
        key = self._options.key
        if isinstance(payload, bytes) and len(payload) <= INLINE_LIMIT:
            return job, partial(session.submit, job, spec, payload, blobs, key)
        return job, partial(session.submit_large, job, spec, payload, blobs, key)

    def _pack(
        self,
        session: Session,
        function: Callable[..., T],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> tuple[Job[T], bytes, bytes | Pieces, Blobs]:
        way = travelling(function)
        if kwargs or not way.least <= len(args) <= way.most:
            way.check(args, kwargs)
        payload, by_value = pack_arguments(way, args, kwargs)
        options = self._options
        job: Job[T] = Job(session, options.name or way.target, None, options.plain)
        return job, self._specs.of(way, by_value), payload, self._blobs(way)

    def map(
        self,
        function: Callable[..., T],
        /,
        *iterables: Any,
        errors: Errors = "raise",
        in_flight: int = IN_FLIGHT,
    ) -> Group[T]:
        """Call the function with the items of the iterables, like the built-in ``map``.

        Iterables may be asynchronous. At most ``in_flight`` items are submitted and not delivered
        to the program yet. ``errors``: ``raise`` reports failures after all have ended,
        ``return`` leaves them in their places, ``cancel`` ends the rest at the first.

        Raises:
            TypeError, NotPackable, PoolClosed, WrongThread: as ``submit``, for the function.
            BadOption: ``errors`` or ``in_flight`` does not fit.
        """
        _check_map(iterables, errors, in_flight)
        session = self._engine.session()
        way = travelling(function)
        options = self._options
        name = options.name or way.target
        group: Group[T] = Group(session, name, errors, in_flight, options.plain)
        self._engine.groups.add(group)
        submit = self._submit_item(group, way)
        Deferred.fromCoroutine(feed(group, iterables, submit, self._engine.reactor))
        return group

    def _submit_item(
        self, group: Group[Any], way: Travelling
    ) -> Callable[[tuple[Any, ...]], Deferred[None] | None]:
        session, blobs, key = self._engine.session(), self._blobs(way), self._options.key

        def submit(arguments: tuple[Any, ...]) -> Deferred[None] | None:
            try:
                way.check(arguments, {})
                payload, by_value = pack_arguments(way, arguments)
            except Exception as e:  # noqa: BLE001  # one bad item is one failure
                group.refuse(e)
                return None
            spec = self._specs.of(way, by_value)
            item: Item = group.add(len(payload))
            own_key = None if key is None else f"{key}:{item.place}"
            rest = (blobs, own_key, group.tally, item.place)
            if isinstance(payload, bytes) and len(payload) <= INLINE_LIMIT:
                session.submit(item, spec, payload, *rest)
                return None
            return session.submit_large(item, spec, payload, *rest)

        return submit

    def _blobs(self, way: Travelling) -> Blobs:
        ships = self._engine.ships
        return ships if way.ref is None else ((way.ref, way.code), *ships)

    def ship(self, module: ModuleType | str) -> None:
        """Send a module's source with all jobs that are submitted from here on.

        Raises:
            BadOption: it has no source.
        """
        packed = pack_module(module)
        ref = BlobRef(hashlib.sha256(packed).digest(), len(packed))
        others = [ship for ship in self._engine.ships if ship[0] != ref]
        self._engine.ships = (*others, (ref, packed))

    # -- finding ----------------------------------------------------------------------------------

    def job(self, number: int | str) -> Job[Any]:
        """A job by its id, whoever submitted it with this credential."""
        return Job(self._engine.session(), "", JobId(int(number)), self._options.plain)

    def group(self, name: str | int) -> Group[Any]:
        """A group by its id, ``g3``: its results can be read as those of a ``map``."""
        number = parse_group(name) if isinstance(name, str) else GroupId(name)
        return found.group(self._engine.session(), number, plain=self._options.plain)

    def jobs(
        self, *, name: str | None = None, state: str | None = None, group: str | int | None = None
    ) -> Deferred[list[Job[Any]]]:
        """The jobs of this credential that have this name, state or group, oldest first."""
        number = parse_group(group) if isinstance(group, str) else group
        wanted = {"name": name, "state": state, "group": number}
        session = self._engine.session()
        finding = found.jobs(session, self._options.plain, **wanted)
        return answer(Deferred.fromCoroutine(finding))

    # -- what has ended ---------------------------------------------------------------------------

    def retry(self, which: Which | Iterable[Which]) -> Deferred[list[Job[Any]]]:
        """Run again jobs that have ended: those that are named, by themselves or their ids, and
        what did not succeed of groups, by themselves or as ``g3``.

        Fires with the new jobs, which have the old ones' places in their groups.
        """
        session = self._engine.session()

        async def retry() -> list[Job[Any]]:
            again = await afterwards.retry(session, which)
            return [Job(session, "", number, self._options.plain) for number in again]

        return answer(Deferred.fromCoroutine(retry()))

    def forget(self, which: Which | Iterable[Which]) -> Deferred[int]:
        """Have the coordinator give up jobs that have ended, with their results and all that is
        kept of them: those that are named, and all of groups.

        Fires with their number; jobs that have not ended are left alone.
        """
        forgetting = afterwards.forget(self._engine.session(), which)
        return answer(Deferred.fromCoroutine(forgetting))

    # -- its life ---------------------------------------------------------------------------------

    def ready(self) -> Deferred[None]:
        """Fires when the first child runs, or the coordinator answers; fails with the reason why
        that does not happen."""
        return answer(self._engine.ready())

    def close(self, grace: float | None = 0.0) -> Deferred[None]:
        """Take no more jobs, and stop.

        Jobs of a pool on this machine may go on for ``grace`` seconds (None: until they end), and
        are ended then. Those of a coordinator go on without us: this waits until it has accepted
        them, for ``grace`` seconds and 5 at least (None: for as long as it takes). Called again,
        it waits no longer than the new ``grace``.
        """
        return answer(self._engine.close(grace))

    def startService(self) -> None:
        super().startService()  # type: ignore[no-untyped-call]
        self._engine.session()

    def stopService(self) -> Deferred[None]:
        super().stopService()  # type: ignore[no-untyped-call]
        return self.close()

    async def __aenter__(self) -> Pool:
        try:
            await self.ready()
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Waits for the jobs, unless an exception leaves the block."""
        await self.close(grace=None if kind is None else 0.0)


def _setup_name(setup: Callable[[], object] | str | None) -> str | None:
    if setup is None:
        return None
    if isinstance(setup, str):
        module, colon, name = setup.partition(":")
        if not (module and colon and name):
            raise BadOption(f"setup is written like module:function, not {setup!r:.80}")
        return setup
    if not callable(setup):
        raise BadOption(f"setup is a function, or its name, not {setup!r:.80}")
    name = import_name(setup) or ""
    if not name:
        raise BadOption(f"setup is a function that children can import; {setup!r:.80} is none")
    return name


def _check_map(iterables: Iterable[Any], errors: str, in_flight: int) -> None:
    if not iterables:
        raise TypeError("map needs at least one iterable")
    if errors not in ("raise", "return", "cancel"):
        raise BadOption(f'errors is "raise", "return" or "cancel", not {errors!r:.80}')
    if not isinstance(in_flight, int) or in_flight < 1:
        raise BadOption(f"in_flight is a number from 1, not {in_flight!r:.80}")
