"""How each fault strikes a chaos run's cluster, and how it is lifted again."""

from __future__ import annotations

import signal
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import psutil
from twisted.internet import threads
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import LoopingCall, deferLater

from .chaos_cluster import Cluster
from .chaos_ground import Ground
from .chaos_history import Struck
from .chaos_member import Member
from .chaos_proxy import DELAY, SLOW, Proxy
from .chaos_schedule import Strike
from .chaos_strikes import COORDINATOR

_JUMP = 3600
_SYNC_SECONDS = 3.0
_FILL_AGAIN = 0.1
_NETWORK_MOMENT = 0.1
"""How long a reset counts: its consequences come after it, as those of a lasting fault."""


class Faults:
    """Strikes, and keeps what was struck; lasting ones never overlap on one victim."""

    def __init__(self, cluster: Cluster, ground: Ground, note: Callable[[Struck], None]) -> None:
        self._cluster = cluster
        self._ground = ground
        self._note = note
        self._busy: set[str] = set()
        self._lasting: list[Deferred[None]] = []
        self.missed = 0
        """Strikes that found no victim."""

    def strike(self, strike: Strike) -> None:
        """Strike now; what lasts is lifted by itself."""
        what = getattr(self, "_" + strike.fault.replace("-", "_"))
        self._lasting.append(Deferred.fromCoroutine(what(strike)))

    async def over(self) -> None:
        """All that lasts has been lifted."""
        await gatherResults(self._lasting, consumeErrors=True)

    # -- whom -------------------------------------------------------------------------------------

    def _one(self, names: Sequence[str], strike: Strike) -> Member | None:
        """The victim among the living that no lasting fault has struck already."""
        members = [self._cluster.members.get(name) for name in names]
        free = [m for m in members if m is not None and m.alive and m.name not in self._busy]
        if not free:
            self.missed += 1
            return None
        return free[int(strike.pick * len(free)) % len(free)]

    def _child(self, strike: Strike) -> psutil.Process | None:
        agents = [self._cluster.members[name] for name in self._cluster.workers]
        children = [child for agent in agents for child in agent.children()]
        if not children:
            self.missed += 1
            return None
        return children[int(strike.pick * len(children)) % len(children)]

    def _struck(
        self, at: float, strike: Strike, target: str, pid: int | None, moment: float = 0.0
    ) -> None:
        until = time.monotonic() if strike.lasting else at + moment
        self._note(Struck(at, until, strike.fault, target, pid))

    async def _last(
        self, strike: Strike, victim: str, pid: int | None, lift: Callable[[], Any]
    ) -> None:
        """Wait for the end of a lasting fault, and lift it."""
        at = time.monotonic()
        self._busy.add(victim)
        try:
            await deferLater(self._cluster.reactor, strike.lasting)
        finally:
            self._busy.discard(victim)
            lifted = lift()
            if isinstance(lifted, Awaitable):
                await lifted
            self._struck(at, strike, victim, pid)

    # -- processes that die -----------------------------------------------------------------------

    async def _kill_worker(self, strike: Strike) -> None:
        await self._kill(strike, self._cluster.workers)

    async def _kill_coordinator(self, strike: Strike) -> None:
        await self._kill(strike, [COORDINATOR])

    async def _kill_client(self, strike: Strike) -> None:
        await self._kill(strike, self._cluster.clients)

    async def _kill(self, strike: Strike, names: Sequence[str]) -> None:
        member = self._one(names, strike)
        if member is not None:
            at, worker = time.monotonic(), member.name in self._cluster.workers
            member.kill()
            self._struck(at, strike, member.name, member.pid if worker else None)

    async def _kill_child(self, strike: Strike) -> None:
        child = self._child(strike)
        if child is not None:
            at = time.monotonic()
            _signal(child, signal.SIGKILL)
            self._struck(at, strike, f"child {child.pid}", child.pid)

    # -- processes that stand still ---------------------------------------------------------------

    async def _stop_worker(self, strike: Strike) -> None:
        await self._stop(strike, self._cluster.workers)

    async def _stop_coordinator(self, strike: Strike) -> None:
        await self._stop(strike, [COORDINATOR])

    async def _stop_client(self, strike: Strike) -> None:
        await self._stop(strike, self._cluster.clients)

    async def _stop(self, strike: Strike, names: Sequence[str]) -> None:
        member = self._one(names, strike)
        if member is not None:
            pid = member.pid if member.name in self._cluster.workers else None
            member.send(signal.SIGSTOP)
            await self._last(strike, member.name, pid, lambda: member.send(signal.SIGCONT))

    async def _stop_child(self, strike: Strike) -> None:
        child = self._child(strike)
        if child is not None:
            _signal(child, signal.SIGSTOP)
            name = f"child {child.pid}"
            await self._last(strike, name, None, lambda: _signal(child, signal.SIGCONT))

    # -- the network ------------------------------------------------------------------------------

    def _link(self, strike: Strike) -> tuple[Proxy, str, int | None] | None:
        """A way to the coordinator, whose it is, and whose executions hang on it."""
        cluster = self._cluster
        near = cluster.workers[:-1] if cluster.shape.far else cluster.workers
        member = self._one([*near, *cluster.clients], strike)
        if member is None:
            return None
        pid = member.pid if member.name in cluster.workers else None
        return cluster.links[member.name], member.name, pid

    async def _reset(self, strike: Strike) -> None:
        if (found := self._link(strike)) is not None:
            proxy, name, pid = found
            at = time.monotonic()
            proxy.reset()
            self._struck(at, strike, name, pid, _NETWORK_MOMENT)

    async def _half_open(self, strike: Strike) -> None:
        await self._weather(strike, Proxy.half_open)

    async def _silence(self, strike: Strike) -> None:
        def silence(proxy: Proxy) -> None:
            weather = proxy.up if strike.pick * 1000 % 1 < 0.5 else proxy.down
            weather.silent = True

        await self._weather(strike, silence)

    async def _black_hole(self, strike: Strike) -> None:
        def swallow(proxy: Proxy) -> None:
            proxy.up.silent = proxy.down.silent = True

        await self._weather(strike, swallow)

    async def _slow(self, strike: Strike) -> None:
        def slow(proxy: Proxy) -> None:
            proxy.up.rate = proxy.down.rate = SLOW

        await self._weather(strike, slow)

    async def _delay(self, strike: Strike) -> None:
        def delay(proxy: Proxy) -> None:
            proxy.up.delay = proxy.down.delay = DELAY

        await self._weather(strike, delay)

    async def _slices(self, strike: Strike) -> None:
        def slice_up(proxy: Proxy) -> None:
            proxy.up.sliced = proxy.down.sliced = True

        await self._weather(strike, slice_up)

    async def _weather(self, strike: Strike, begin: Callable[[Proxy], None]) -> None:
        if (found := self._link(strike)) is not None:
            proxy, name, pid = found
            begin(proxy)
            await self._last(strike, name, pid, proxy.clear)

    # -- the ground that it stands on -------------------------------------------------------------

    async def _cut_network(self, strike: Strike) -> None:
        member = self._one(self._cluster.workers[-1:], strike)
        if member is not None:
            await threads.deferToThread(self._ground.cut)
            mend = self._ground.mend
            await self._last(strike, member.name, member.pid, lambda: threads.deferToThread(mend))

    async def _full_disk(self, strike: Strike) -> None:
        """Full, and full again: what the coordinator frees is gone at once."""
        if "disk" not in self._busy:
            self._busy.add("disk")
            self._cluster.disk_full = True
            filling = LoopingCall(lambda: threads.deferToThread(self._ground.fill))
            filled = filling.start(_FILL_AGAIN)

            def lift() -> Deferred[None]:
                filling.stop()
                return filled.addCallback(lambda _: threads.deferToThread(self._ground.empty))

            await self._last(strike, COORDINATOR, None, lift)
            self._busy.discard("disk")
            self._cluster.disk_full = False

    async def _failed_sync(self, strike: Strike) -> None:
        member = self._one([COORDINATOR], strike)
        if member is None:
            return
        at = time.monotonic()
        member.struck = True
        await threads.deferToThread(self._ground.fail_sync, member.pid, _SYNC_SECONDS)
        member.struck = not member.alive
        self._note(Struck(at, time.monotonic(), strike.fault, COORDINATOR, None))

    async def _clock(self, strike: Strike) -> None:
        names = [COORDINATOR, *self._cluster.workers]
        name = names[int(strike.pick * len(names)) % len(names)]
        file = self._cluster.clock_file(name)
        shift = _JUMP if strike.pick * 1000 % 1 < 0.5 else -_JUMP
        file.write_text(f"{shift:+d}")
        at = time.monotonic()
        await deferLater(self._cluster.reactor, strike.lasting)
        file.write_text("+0")
        self._struck(at, strike, f"the clock of {name}", None)


def _signal(process: psutil.Process, number: int) -> None:
    try:
        process.send_signal(number)
    except psutil.Error:
        return  # it has ended meanwhile
