"""The services behind ``up``, ``coordinator`` and ``join``, made from the settings."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import click
from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from ..client.local import LocalCluster
from ..coordinator.credentials import Credentials
from ..coordinator.service import CoordinatorService
from ..loopwatch import LagMeter
from ..protocol.addresses import parse_address, parse_listen
from ..protocol.collecting import collect_seldom
from ..protocol.privacy import check_way
from ..protocol.tokens import SIDES
from ..workers.credentials import KeptCredentials
from ..workers.load import Load
from .bounds import bounds_of
from .connecting import (
    access_folder,
    address_of,
    asked,
    asked_token,
    line_in,
    refuse_token_in_flag,
    state_folder,
    token_of,
)
from .failures import CoordinatorBroke
from .settings import Settings

if TYPE_CHECKING:
    from ..protocol.access import StateFolder
    from ..protocol.addresses import Address
    from ..protocol.temporary import TemporaryFolder
    from ..protocol.tokens import Token
    from ..workers.agent import Agent
    from .supervisor import Supervisor


LOAD_SECONDS = 1.0
"""Between two words about the load of this machine."""

RESTING = 0.025
"""Seconds between two looks at how late the loop is, while nothing happens."""


class Host(Service):
    """A coordinator with slots of its own, or none: one reactor for both.

    ``ready`` fires when it listens and the first child runs, or fails. ``stopped`` fires when a
    client has asked it to stop, and fails with ``CoordinatorBroke`` when it cannot go on.
    """

    log = Logger()

    def __init__(self, reactor: Any, settings: Settings, slots: int | None) -> None:
        """``slots``: None for as many as there are processors."""
        self.ready: Deferred[None] = Deferred()
        self.stopped: Deferred[None] = Deferred()
        self._reactor = reactor
        asked = settings.resolve("grace")
        # whoever ends it in the foreground waits for nothing, unless he has said so
        self._grace: float = 0.0 if asked.source == "default" else asked.value
        self._lag = LagMeter(reactor, rest=RESTING)
        self.state: StateFolder | None = None
        """Where jobs are kept; None: in memory."""
        if not settings["ephemeral"]:
            self.state = state_folder(settings)
        self.cluster = LocalCluster(
            reactor,
            slots=slots,
            python=settings["python"],
            setup=settings["setup"],
            settings=bounds_of(settings),
            lag=self._lag,
            name=settings["name"],
            grace=settings["grace"],
            store=None if self.state is None else self.state.store,
        )
        self.access = access_folder(settings)
        self._settings = settings
        _check_addresses(settings)
        self._doors: CoordinatorService | None = None
        self._broken = False
        self._starting: Deferred[None] | None = None
        self._telling: LoopingCall | None = None

    def _make_doors(self) -> CoordinatorService:
        settings = self._settings
        return CoordinatorService(
            self._reactor,
            self.cluster.driver,
            self.access,
            Credentials(state_folder(settings)),
            settings["listen"],
            settings["advertise"],
            bounds_of(settings),
        )

    @property
    def doors(self) -> CoordinatorService:
        """Where others come in; there once ``ready`` has fired."""
        assert self._doors is not None, "nothing listens yet"
        return self._doors

    def _asked_to_stop(self) -> None:
        if not self.stopped.called:
            self.stopped.callback(None)

    def broke(self, why: BaseException | None) -> None:
        """The store cannot be relied upon: nothing is done any more before the next start."""
        self._broken = True
        self.log.error("the coordinator cannot go on: {why}", why=str(why))
        if not self.stopped.called:
            self.stopped.errback(CoordinatorBroke(f"the coordinator had to stop: {why}"))

    # -- the service --

    def startService(self) -> None:
        super().startService()  # type: ignore[no-untyped-call]
        self._lag.start()
        self._starting = Deferred.fromCoroutine(self._start())
        self._starting.addCallbacks(self.ready.callback, self.ready.errback)

    async def _start(self) -> None:
        # locks and doors first: whoever finds them taken shall not start children for nothing
        await self.cluster.defer_to_thread(check_way, self.cluster.folder)
        if self.state is not None:
            await self.cluster.defer_to_thread(_take, self.state)
        await self.cluster.open()
        self.cluster.driver.on_shutdown = self._asked_to_stop
        self.cluster.driver.on_broken = lambda why: self.broke(why.value)
        self._doors = self._make_doors()
        self._doors.startService()
        await self._doors.ready
        await self.cluster.start()
        if self.cluster.events is not None:
            self._telling = LoopingCall(self._tell_load, Load(self._lag))
            self._telling.clock = self._reactor
            self._telling.start(LOAD_SECONDS, now=False)
        collect_seldom()  # what was loaded until now stays
        self._lag.reset()  # nobody was served before

    def _tell_load(self, load: Load) -> None:
        """What ``workers`` and ``top`` show of our own slots, which no agent speaks for."""
        if self.cluster.events is not None:
            self.cluster.events.state(load.now())

    def stopService(self) -> Deferred[None]:
        super().stopService()  # type: ignore[no-untyped-call]
        return Deferred.fromCoroutine(self._stop())

    def hurry(self) -> None:
        """While it stops: what still runs is ended now."""
        Deferred.fromCoroutine(self.cluster.drain(0))

    async def _stop(self) -> None:
        if self._starting is not None:
            self._starting.cancel()
        self.ready.addErrback(_ignore)
        if self._telling is not None and self._telling.running:
            self._telling.stop()
        self._lag.stop()
        if not self._broken:
            await self.cluster.drain(self._grace)
        if self._doors is not None:
            # before the driver: nobody shall be answered that it has stopped
            await self._doors.stopService()
            self._doors.ready.addErrback(_ignore)
        await self.cluster.stop()
        if self.state is not None:
            self.state.unlock()

    # -- what is told when it is ready --

    @property
    def listening(self) -> list[str]:
        """Where it listens, as ``unix:…`` and ``tcp:…``."""
        return [] if self._doors is None else list(self._doors.listening)

    def join_line(self, role: Any) -> str | None:
        """What others join with, ``host:8786#TOKEN``; None where they cannot."""
        open_to_others = any(place.startswith("tcp:") for place in self.listening)
        return self.doors.join_line(role) if open_to_others else None

    async def hand_out_tokens(self, folder: Path) -> None:
        """Leave lines to join with in ``worker/token`` and ``client/token`` of a folder.

        Raises:
            click.UsageError: nobody could join with them.
        """
        if self.join_line("worker") is None:
            raise click.UsageError("--tokens: nobody needs a token without --listen")
        for role in SIDES:
            await self.doors.hand_out(role, folder / role / "token")

    def facts(self) -> dict[str, Any]:
        """What scripts are told: secret, with the tokens in it."""
        worker, client = self.join_line("worker"), self.join_line("client")
        return {
            "ready": True,
            "pid": os.getpid(),
            "socket": str(self.access.socket),
            "listening": self.listening,
            "slots": self.cluster.slots.info.slots if self.cluster.slots else 0,
            "durable": self.state is not None,
            "state": None if self.state is None else str(self.state.path),
            "store": self.cluster.driver.store_id.hex(),
            "address": None if client is None else client.partition("#")[0],
            "join": worker,
            "client": client,
        }


def _take(state: StateFolder) -> None:
    """Blocking: make the folder, see that it is fit for a store, and be the only one there.

    Raises:
        AlreadyRunning, InsecureFolder, StoreRefused: it is not for us.
    """
    state.create()
    state.check_store()
    state.lock()


def _check_addresses(settings: Settings) -> None:
    """See that what is said of addresses can be understood, before anything is started.

    Raises:
        click.UsageError: it cannot.
    """
    try:
        for text in settings["listen"]:
            parse_listen(text)
        if settings["advertise"] is not None:
            parse_address(settings["advertise"])
    except ValueError as e:
        raise click.UsageError(f"--listen or --advertise: {e}") from None


def _ignore(_: Failure) -> None:
    """It was told already, or nobody is left to be told."""


@attrs.frozen
class Destination:
    """Where a worker joins, and with which token; its own credential may be kept already."""

    address: Address
    token: Token | None


def destination(settings: Settings, words: str | None, ask: bool = False) -> Destination:
    """From ``host:8786#TOKEN``, an address, or a token file that holds the whole line.

    ``ask``: who sits at the terminal is asked for what is missing.

    Raises:
        click.UsageError: there is no address, or it is none, or a token stands in a flag.
        TokenDamaged, TokenRefused: the token is damaged, or its file cannot be read.
        InsecureFolder: others can read that file.
    """
    if words is None:
        refuse_token_in_flag(settings)
    line = words or settings["coordinator"] or line_in(settings)
    if line is None and ask:
        line = asked("the line that the coordinator printed, host:8786#TOKEN")
    if line is None:
        raise click.UsageError(
            "join what? Paste the line that the coordinator printed: "
            "ampacity join 'host:8786#TOKEN'"
        )
    address = address_of(line)
    to = Destination(attrs.evolve(address, token=None), address.token or token_of(settings))
    if ask and to.token is None and to.address.path is None and not _kept(settings, to.address):
        to = attrs.evolve(to, token=asked_token(to.address))
    return to


def _kept(settings: Settings, address: Address) -> bool:
    """Whether an earlier worker of this machine was given a credential there."""
    return KeptCredentials(state_folder(settings)).find(address, None) is not None


def make_agent(reactor: Any, settings: Settings, to: Destination) -> tuple[Agent, TemporaryFolder]:
    """The agent of this machine, and the folder that is to be removed after it."""
    from ..protocol.temporary import TemporaryFolder
    from ..workers.agent import Agent
    from ..workers.machine import usable_cpus
    from ..workers.rights import JobUser
    from ..workers.slots import SlotPool

    slots = settings["slots"]
    if slots == 0:
        raise click.UsageError("--slots 0: without a slot there is nothing to offer")
    if settings["lifetime"] == 0:
        raise click.UsageError("--lifetime: it must be longer than nothing")
    user = None if settings["user"] is None else JobUser.named(settings["user"])
    folder = TemporaryFolder("worker-")
    check_way(folder.path)
    pool = SlotPool(
        reactor,
        slots or usable_cpus(),
        folder.path,
        python=settings["python"],
        setup=settings["setup"],
        name=settings["name"],
        user=user,
    )
    agent = Agent(
        reactor,
        to.address,
        pool,
        folder=folder.path,
        token=to.token,
        state=state_folder(settings),
        grace=settings["grace"],
        lifetime=settings["lifetime"],
        lends_values=user is not None,
    )
    agent.ready.addCallback(_calm)
    return agent, folder


JOIN_SECONDS = 10.0
"""A worker that has not found its coordinator by then is taken for started, and goes on trying."""


def tell_of_agent(supervisor: Supervisor, agent: Agent, address: str) -> None:
    """Tell who supervises a worker when it has joined, or that it still tries."""
    trying = f"looks for the coordinator at {address}"
    supervisor.status(trying)
    late = supervisor.reactor.callLater(JOIN_SECONDS, supervisor.ready, trying)

    def over(result: Any) -> Any:
        if late.active():
            late.cancel()
        return result

    def joined(name: str) -> str:
        over(None)
        supervisor.ready(f"joined {address} as {name}")
        return name

    agent.ready.addCallback(joined)
    agent.done.addBoth(over)


def _calm(name: str) -> str:
    collect_seldom()
    return name
