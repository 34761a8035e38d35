"""The agent: the service that offers the slots of this machine to a coordinator elsewhere.

It dials, joins, and comes back by itself whenever the connection ends. What it holds outlives a
connection, never a store: where a coordinator with another store answers, everything of the old
one is ended and forgotten.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from pathlib import Path
from random import SystemRandom
from typing import TYPE_CHECKING, Any, Protocol

import attrs
from twisted.application.service import Service
from twisted.internet import threads
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.defer import TimeoutError as TimedOut
from twisted.internet.error import ConnectError, ConnectionClosed
from twisted.internet.task import LoopingCall, deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from ..loopwatch import LagMeter
from ..protocol import errors
from ..protocol.access import StateFolder
from ..protocol.addresses import Address, parse_address
from ..protocol.blobs import BlobFolder
from ..protocol.commands import Goodbye, Join
from ..protocol.dialing import Greeted, dial
from ..protocol.ports import Holding, WorkerEvents, WorkerInfo, WorkerPort
from ..protocol.tokens import Token
from .backoff import Backoff
from .blobcache import BlobCache
from .credentials import KeptCredentials
from .load import Load
from .orders import Orders, holding, records
from .uplink import Uplink

if TYPE_CHECKING:
    from random import Random

    from ..protocol.connection import Connection
    from ..protocol.transfers import DeferToThread

STATE_SECONDS = 1.0
"""Between two words about the load of this machine."""

FLUSH_SECONDS = 5.0
"""How long the last reports may take, when the agent leaves."""

GOODBYE_SECONDS = 2.0

CACHE_BYTES = 4 * 1024**3

FATAL = (
    errors.WrongKey,
    errors.TokenRefused,
    errors.TokenDamaged,
    errors.VersionMismatch,
    errors.InsecureFolder,
    errors.NotAllowed,
)
"""What the next try cannot mend."""

_RETRIED = (errors.AmpacityError, ConnectError, ConnectionClosed, OSError, TimedOut)


class AgentSlots(WorkerPort, Protocol):
    """What an agent needs of its slots, see ``slots.SlotPool``."""

    @property
    def info(self) -> WorkerInfo: ...

    def bind(self, events: WorkerEvents) -> None: ...

    def start(self) -> Deferred[Any]: ...

    def held(self) -> list[Holding]: ...

    def drop(self, unwanted: Iterable[Holding]) -> None: ...

    def stop(self, grace: float) -> Deferred[Any]: ...


class Agent(Service):
    """A worker of a coordinator elsewhere.

    ``ready`` fires with the worker's name when it has joined for the first time. ``done`` fires
    when it has stopped, and fails with what ended it: one of ``FATAL``, or ``CannotStart``.
    """

    log = Logger()

    def __init__(
        self,
        reactor: Any,
        address: Address | str,
        slots: AgentSlots,
        *,
        folder: Path,
        token: Token | None = None,
        state: StateFolder | None = None,
        grace: float = 10.0,
        cache_bytes: int = CACHE_BYTES,
        lag: LagMeter | None = None,
        random: Random | None = None,
        defer_to_thread: DeferToThread | None = None,
    ) -> None:
        """Of these, ``folder`` is where this agent alone keeps the values that it fetches."""
        self._reactor = reactor
        self._address = parse_address(address) if isinstance(address, str) else address
        self._given = token or self._address.token
        self._token: Token | None = None
        self._slots = slots
        self._grace = grace
        self._lag = lag or LagMeter(reactor)
        self._kept = KeptCredentials(state or StateFolder.default())
        self._in_thread: DeferToThread = defer_to_thread or partial(
            threads.deferToThreadPool, reactor, reactor.getThreadPool()
        )
        values = BlobFolder(folder / "values", self._in_thread, durable=False)
        self._cache = BlobCache(values, cache_bytes)
        self._uplink = Uplink(reactor, self._cache, self._in_thread)
        self._backoff = Backoff(random or SystemRandom())
        self._telling = LoopingCall(self._tell_state, Load(self._lag))
        self._telling.clock = reactor
        self._store: bytes | None = None
        self._connection: Connection | None = None
        self._orders: Orders | None = None
        self._said = ""
        self._leaving = False
        self._running: Deferred[None] | None = None
        self.worker_name = ""
        """What the coordinator calls this worker."""
        self.ready: Deferred[str] = Deferred()
        self.done: Deferred[None] = Deferred()

    # -- the service ------------------------------------------------------------------------------

    def startService(self) -> None:
        super().startService()  # type: ignore[no-untyped-call]  # Twisted's own is untyped
        self._slots.bind(self._uplink)
        self._lag.start()
        self._running = Deferred.fromCoroutine(self._run())
        self._running.addErrback(self._ended)

    def stopService(self, grace: float | None = None) -> Deferred[None]:
        """Leave: nothing new, back with what has not begun, the rest within the grace."""
        if not self.running:
            return Deferred.fromCoroutine(_nothing())
        super().stopService()  # type: ignore[no-untyped-call]  # as above
        return Deferred.fromCoroutine(self._leave(self._grace if grace is None else grace))

    async def _run(self) -> None:
        await self._slots.start()
        await self._cache.start()
        self._token = await self._in_thread(self._kept.find, self._address, self._given)
        self._telling.start(STATE_SECONDS, now=False).addErrback(self._log_mistake)
        while True:
            try:
                await self._stay_connected()
            except FATAL:
                raise
            except _RETRIED as e:
                self._say(str(e))
            await deferLater(self._reactor, self._backoff.next(), lambda: None)

    def _ended(self, failure: Failure) -> Deferred[None] | None:
        """Cancelled by ``_leave``; or by what cannot be tried again."""
        if self._leaving and failure.check(CancelledError):
            return None
        self.log.error("the worker ends: {why}", why=str(failure.value))
        return Deferred.fromCoroutine(self._give_up(failure))

    async def _give_up(self, failure: Failure) -> None:
        if self.running:
            super().stopService()  # type: ignore[no-untyped-call]  # as above
        await self._close(0)
        self.done.errback(failure)

    async def _leave(self, grace: float) -> None:
        self._leaving = True
        if self._orders is not None:
            self._orders.leaving = True
        await self._offer_nothing()
        await self._slots.stop(grace)
        await self._say_goodbye()
        if self._running is not None:
            self._running.cancel()
        await self._close(None)
        if not self.done.called:
            self.done.callback(None)

    async def _close(self, grace: float | None) -> None:
        if self._telling.running:
            self._telling.stop()
        self._lag.stop()
        if self._connection is not None:
            self._connection.close()
        self._uplink.stop()
        if grace is not None:
            await self._slots.stop(grace)

    # -- one connection ---------------------------------------------------------------------------

    async def _stay_connected(self) -> None:
        """Dial, join, and wait for the end of the connection."""
        greeted = await self._dial()
        connection = greeted.connection
        lost: Deferred[str] = Deferred()
        try:
            await self._join(greeted)
            connection.on_lost(lambda reason: lost.callback(str(reason.value)))
            why = await lost
        finally:
            self._connection = None
            self._uplink.disconnected()
            connection.abort()
        self._say(f"the connection to {self._address} is lost: {why}")

    async def _dial(self) -> Greeted:
        try:
            greeted = await self._dial_with(self._token or self._given)
        except errors.TokenRefused:
            if self._token is None or self._given is None or self._token == self._given:
                raise
            await self._in_thread(self._kept.forget, self._token)
            self._token = None
            greeted = await self._dial_with(self._given)
        if greeted.credential is not None:
            self._token = greeted.credential
            await self._in_thread(self._kept.keep, self._address, greeted.credential)
        return greeted

    def _dial_with(self, token: Token | None) -> Deferred[Greeted]:
        self._orders = Orders(self._slots, self._uplink, self._leaving)
        return Deferred.fromCoroutine(
            dial(self._reactor, self._address, "worker", token, self._orders)
        )

    async def _join(self, greeted: Greeted) -> None:
        connection = greeted.connection
        if self._store not in (None, greeted.store):
            what = "another store answers at {at}: dropping what is held"
            self.log.warn(what, at=self._address)  # noqa: G010 -- Twisted's knows no "warning"
            self._slots.drop(self._slots.held())
            self._uplink.forget()
        self._store = greeted.store
        await self._offer(connection)
        self._connection = connection
        self._backoff.reset()
        self._say(f"joined {self._address} as {self.worker_name}")
        self._uplink.connected(connection)
        if not self.ready.called:
            self.ready.callback(self.worker_name)

    async def _offer(self, connection: Connection) -> None:
        """Say what there is to offer and what is held; drop what is not wanted of it."""
        info = self._slots.info
        if self._leaving:
            info = attrs.evolve(info, slots=0)
        held = dict.fromkeys([*self._slots.held(), *self._uplink.reported()])
        answer = await connection.call(
            Join, info=attrs.asdict(info), held=[[job, *attempt] for job, attempt in held]
        )
        self.worker_name = str(answer["name"])
        unwanted = records(answer["drop"], holding)
        self._slots.drop(unwanted)
        self._uplink.drop(unwanted)

    # -- leaving ----------------------------------------------------------------------------------

    async def _offer_nothing(self) -> None:
        """Join once more, with no slots: what is given back does not come here again."""
        if self._connection is not None:
            await self._at_most(GOODBYE_SECONDS, self._offer(self._connection))

    async def _say_goodbye(self) -> None:
        if self._connection is None or self._orders is None:
            return
        self._orders.give_back()
        await self._at_most(FLUSH_SECONDS, self._uplink.flushed())
        if self._connection is not None:
            await self._at_most(GOODBYE_SECONDS, self._connection.call(Goodbye))

    async def _at_most(self, seconds: float, work: Any) -> None:
        """Wait for it, not too long, and go on when it fails: the connection may be gone."""
        waiting: Deferred[Any] = (
            work if isinstance(work, Deferred) else Deferred.fromCoroutine(work)
        )
        try:
            await waiting.addTimeout(seconds, self._reactor)
        except _RETRIED as e:
            self.log.info("left without an answer: {why}", why=str(e))

    # -- words ------------------------------------------------------------------------------------

    def _tell_state(self, load: Load) -> None:
        self._uplink.state(load.now())

    def _say(self, what: str) -> None:
        """Once a change, however often it is tried."""
        if what != self._said:
            self.log.info("{what}", what=what)
            self._said = what

    def _log_mistake(self, failure: Failure) -> None:
        self.log.failure("the load of this machine cannot be told", failure)


async def _nothing() -> None:
    pass
