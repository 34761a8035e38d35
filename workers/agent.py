"""The agent: the service that offers the slots of this machine to a coordinator elsewhere.

It dials, joins, and comes back by itself whenever the connection ends. What it holds outlives a
connection, never a store: where a coordinator with another store answers, everything of the old
one is ended and forgotten.
"""

from __future__ import annotations

import contextlib
from functools import partial
from pathlib import Path
from random import SystemRandom
from shutil import rmtree
from typing import TYPE_CHECKING, Any

import attrs
from twisted.application.service import Service
from twisted.internet import threads
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.defer import TimeoutError as TimedOut
from twisted.internet.error import ConnectError, ConnectionClosed
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.task import LoopingCall, deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from ..loopwatch import LagMeter
from ..protocol import errors
from ..protocol.access import StateFolder
from ..protocol.addresses import Address, parse_address
from ..protocol.blobs import BlobFolder
from ..protocol.commands import Goodbye, Join
from ..protocol.dialing import WAITING_SECONDS, Greeted, dial
from ..protocol.steady import monotonic_of
from ..protocol.temporary import remove_abandoned_meanwhile
from ..protocol.tokens import Token
from .agentslots import AgentSlots
from .backlog import Backlog
from .backoff import Backoff
from .blobcache import BlobCache
from .branch import branch
from .credentials import KeptCredentials
from .load import Load
from .orders import Orders, holding, records
from .patience import Patience
from .uplink import KEPT_BYTES, Uplink

if TYPE_CHECKING:
    from random import Random

    from ..protocol.connection import Connection
    from ..protocol.transfers import DeferToThread

STATE_SECONDS = 1.0
"""Between two words about the load of this machine."""

FLUSH_SECONDS = 5.0
"""How long the last reports may take, when the agent leaves."""

GOODBYE_SECONDS = 2.0

STEADY_SECONDS = 5.0
"""How long a connection has lasted where a fault after it is a new one."""

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
        lifetime: float | None = None,
        cache_bytes: int = CACHE_BYTES,
        kept_bytes: int = KEPT_BYTES,
        lends_values: bool = False,
        lag: LagMeter | None = None,
        random: Random | None = None,
        defer_to_thread: DeferToThread | None = None,
    ) -> None:
        """Of these:

        folder: where this agent alone keeps values that it fetched, and reports that wait.
        grace: seconds that jobs which run have to end when it leaves.
        lifetime: seconds after which it has left by itself, the grace included.
        kept_bytes: of reports and results that wait for the coordinator, on disk.
        lends_values: jobs are another user's, who is let read the files of the values they need.
        """
        self._reactor = reactor
        self._address = parse_address(address) if isinstance(address, str) else address
        self._given = token or self._address.token
        self._token: Token | None = None
        self._slots = slots
        self._grace = grace
        self._lifetime = lifetime
        self._expiry: IDelayedCall | None = None
        self._now = monotonic_of(reactor)
        self._lag = lag or LagMeter(reactor)
        self._kept = KeptCredentials(state or StateFolder.default())
        self._in_thread: DeferToThread = defer_to_thread or partial(
            threads.deferToThreadPool, reactor, reactor.getThreadPool()
        )
        random = random or SystemRandom()
        values = folder / "values"  # which begins empty: nothing in it has to outlive a power cut
        blobs = BlobFolder(values, self._in_thread, durable=False, alone=lends_values)
        self._cache = BlobCache(blobs, cache_bytes)
        self._spool = folder / "reports"
        backlog = Backlog(self._spool, self._in_thread)
        self._uplink = Uplink(reactor, self._cache, self._in_thread, backlog, random, kept_bytes)
        self._backoff = Backoff(random)
        self._telling = LoopingCall(self._tell_state, Load(self._lag))
        self._telling.clock = reactor
        self._store: bytes | None = None
        self._connection: Connection | None = None
        self._orders: Orders | None = None
        self._said: set[str] = set()
        self._faults: set[str] = set()
        self._leaving = False
        self._left: Deferred[None] | None = None
        self._until = 0.0  # when the grace of the leaving ends
        self._flushing: Patience | None = None
        self._running: Deferred[None] | None = None
        self.worker_name = ""
        """What the coordinator calls this worker."""
        self.ready: Deferred[str] = Deferred()
        self.done: Deferred[None] = Deferred()

    # -- the service ------------------------------------------------------------------------------

    def startService(self) -> None:
        super().startService()  # type: ignore[no-untyped-call]  # Twisted's own is untyped
        self._slots.bind(self._uplink)
        self._slots.on_drain = self.drain
        self._uplink.on_full = self._hold_back
        self._lag.start()
        if self._lifetime is not None:
            seconds = max(0.0, self._lifetime - self._grace)
            self._expiry = self._reactor.callLater(seconds, self._expire)
        self._running = Deferred.fromCoroutine(self._run())
        self._running.addErrback(self._ended)

    def stopService(self, grace: float | None = None) -> Deferred[None]:
        """Leave: nothing new, back with what has not begun, and with what does not end within the
        grace. Fires when it has left.

        Asked again with less patience, the rest of the grace is shortened.
        """
        grace = self._grace if grace is None else grace
        if self._left is not None:
            self._hurry(grace)
        elif self.running:
            super().stopService()  # type: ignore[no-untyped-call]  # Twisted's own is untyped
            self._left = Deferred.fromCoroutine(self._leave(grace))
        return succeed(None) if self._left is None else branch(self._left)

    def drain(self) -> None:
        """Leave, as ``stopService`` does; the coordinator has asked for it, or the time is over."""
        self.stopService()

    def _expire(self) -> None:
        self._expiry = None
        self.log.info("its lifetime is over")
        self.drain()

    def _hold_back(self, full: bool) -> None:
        """Too much waits for the coordinator, or no longer so."""
        if full:
            self.log.warn("begins nothing more: too much waits for the coordinator")  # noqa: G010
        else:
            self.log.info("begins jobs again")
        self._slots.hold_back(full)

    async def _run(self) -> None:
        await self._slots.start()
        await self._cache.start()
        await self._in_thread(rmtree, self._spool, True)
        remove_abandoned_meanwhile()
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
        """No step takes for ever: neither without a connection, nor without an answer."""
        self._leaving = True
        self._until = self._now() + grace
        if self._orders is not None:
            self._orders.leaving = True
        if self._connection is not None:
            withdrawn = Deferred.fromCoroutine(self._offer(self._connection))
            withdrawn.addTimeout(GOODBYE_SECONDS, self._reactor).addErrback(self._not_answered)
        await self._slots.stop(grace)
        await self._flush()
        await self._say_goodbye()
        if self._running is not None:
            self._running.cancel()
        await self._close(None)
        if not self.done.called:
            self.done.callback(None)

    def _hurry(self, grace: float) -> None:
        self._until = min(self._until, self._now() + grace)
        self._slots.stop(grace)
        if self._flushing is not None:
            self._flushing.shorten(self._flush_seconds())

    async def _close(self, grace: float | None) -> None:
        if self._telling.running:
            self._telling.stop()
        if self._expiry is not None:
            self._expiry.cancel()
            self._expiry = None
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
        since = self._now()
        try:
            await self._join(greeted)
            connection.on_lost(lambda reason: lost.callback(str(reason.value)))
            why = await lost
        finally:
            self._connection = None
            self._uplink.disconnected()
            connection.abort()
            if self._now() - since >= STEADY_SECONDS:
                self._backoff.reset()
                self._said.clear()
        self._say(f"the connection to {self._address} is lost: {why}")

    async def _dial(self) -> Greeted:
        try:
            greeted = await self._dial_with(self._token or self._given)
        except errors.TokenRefused:
            if self._token is None or self._given is None or self._token == self._given:
                raise
            if self._store is not None:
                raise  # it was good a moment ago: this machine has been shut out
            await self._in_thread(self._kept.forget, self._token)
            self._token = None
            greeted = await self._dial_with(self._given)
        if greeted.credential is not None:
            self._token = greeted.credential
            await self._in_thread(self._kept.keep, self._address, greeted.credential)
        return greeted

    def _dial_with(self, token: Token | None) -> Deferred[Greeted]:
        self._orders = Orders(self._slots, self._uplink, self._leaving, self._faults)
        return Deferred.fromCoroutine(
            dial(
                self._reactor,
                self._address,
                "worker",
                token,
                self._orders,
                waiting=WAITING_SECONDS,
            )
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
        if not info.slots and self._orders is not None:
            self._orders.give_back()

    # -- leaving ----------------------------------------------------------------------------------

    def _flush_seconds(self) -> float:
        return max(FLUSH_SECONDS, self._until - self._now())

    async def _flush(self) -> None:
        """Hand over what is known; a connection that comes back within the grace is waited for."""
        if self._orders is not None:
            self._orders.give_back()
        flushed = self._uplink.flushed()
        self._flushing = Patience(self._reactor, self._flush_seconds(), flushed.cancel)
        with contextlib.suppress(CancelledError):
            await flushed
        self._flushing.stop()
        left = self._uplink.waiting()["reports"]
        if left:
            what = "leaves with {n} reports that the coordinator did not take"
            self.log.warn(what, n=left)  # noqa: G010 -- Twisted's knows no "warning"

    async def _say_goodbye(self) -> None:
        if self._connection is not None:
            said = self._connection.call(Goodbye).addTimeout(GOODBYE_SECONDS, self._reactor)
            await said.addErrback(self._not_answered)

    def _not_answered(self, failure: Failure) -> None:
        """The connection may be gone, or the coordinator busy: it is left all the same."""
        failure.trap(*_RETRIED)
        self.log.info("left without an answer: {why}", why=str(failure.value))

    # -- words ------------------------------------------------------------------------------------

    def _tell_state(self, load: Load) -> None:
        self._uplink.state({**load.now(), "waiting": self._uplink.waiting()})

    def _say(self, what: str) -> None:
        """Once, however often it is tried, until a connection has lasted."""
        if what not in self._said:
            self.log.info("{what}", what=what)
            self._said.add(what)

    def _log_mistake(self, failure: Failure) -> None:
        self.log.failure("the load of this machine cannot be told", failure)
