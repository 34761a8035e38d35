"""The machines of a virtual cluster, and what may befall them."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING, Any

from .processes import CoordinatorProcess, WorkerProcess, name_of
from .timeline import Machine, Process

if TYPE_CHECKING:
    from .cluster import VirtualCluster


class VirtualMachine:
    """One of them, by its connection with the coordinator."""

    def __init__(self, cluster: VirtualCluster, machine: Machine) -> None:
        self.machine = machine
        self.name = machine.name
        self._cluster = cluster
        self._lives = 0

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name}>"

    def cut_off(self) -> None:
        """Pull its network cable: nothing arrives in either direction, and nobody is told."""
        for one, other in self._ways():
            self._cluster.network.stall(one, other)

    def reconnect(self) -> None:
        """Plug the cable in again: what was sent meanwhile arrives, as TCP sends it again."""
        for one, other in self._ways():
            self._cluster.network.heal(one, other)

    def reset_connection(self) -> None:
        """Cut its connections; it may make new ones at once."""
        for one, other in self._ways():
            self._cluster.network.reset(one, other)

    def slow_down(self, seconds: float, rate: float = 1e9) -> None:
        """Have each message take so long, at so many bytes a second; ``reconnect`` ends that."""
        for one, other in self._ways():
            way = self._cluster.network.way(one, other)
            way.seconds, way.rate = seconds, rate

    def _ways(self) -> list[tuple[Machine, Machine]]:
        desk = self._cluster.coordinator.machine
        return [(self.machine, desk), (desk, self.machine)]

    def _process(self) -> Process:
        self._lives += 1
        process = Process(self.machine, name_of(self.name, self._lives))
        process.connect = self._cluster.network.connect
        return process


class _Server(VirtualMachine):
    """One with a process that can be killed and started."""

    process: Process | None = None

    @property
    def alive(self) -> bool:
        """Whether its process runs."""
        return self.process is not None and self.process.alive

    def kill(self) -> None:
        """SIGKILL: its connections are closed by its kernel, and it says no word of its own."""
        if self.process is not None:
            self.process.kill()

    def pause(self) -> None:
        """SIGSTOP: its connections stay, and nothing is answered."""
        if self.process is not None:
            self.process.pause()

    def go_on(self) -> None:
        """SIGCONT."""
        if self.process is not None:
            self.process.go_on()

    def power_off(self) -> None:
        """The machine is gone, and nobody is told, not even by a closed connection."""
        self.machine.off = True
        self.kill()

    def _born(self) -> Process:
        assert not self.alive, f"{self.name} runs already"
        self.machine.off = False
        process = self.process = self._process()
        return process


class WorkerMachine(_Server):
    """A worker: its agent is the real one, its slots run jobs in the test's process."""

    def __init__(self, cluster: VirtualCluster, machine: Machine, slots: int) -> None:
        super().__init__(cluster, machine)
        self._slots = slots
        self.worker: WorkerProcess
        self.ended_by: Exception | None = None
        """Why its agent has ended by itself: a token that was refused, for example."""

    def start(self) -> None:
        """Begin, or begin again after ``kill``: a new agent, with nothing in its hands."""
        cluster = self._cluster
        self.worker = WorkerProcess(
            self._born(),
            cluster.door,
            cluster.folder,
            self._slots,
            cluster.stage,
            Random(cluster.random.random()),
            self._has_ended,
        )

    def _has_ended(self, failure: Any) -> None:
        self.ended_by = failure.value

    def drain(self) -> None:
        """SIGTERM: leave in order. What runs has two seconds, and is given back then."""
        self.worker.drain()

    @property
    def running(self) -> list[str]:
        """The names of the jobs that run here."""
        runs = self.worker.slots.running if self.alive else []
        return [run.spec.name or run.spec.target for run in runs]

    def kill_child(self) -> bool:
        """Kill one of the children that run a job; whether there was one."""
        return self.alive and self.worker.slots.kill_a_child()


class CoordinatorMachine(_Server):
    """The coordinator."""

    def __init__(self, cluster: VirtualCluster, machine: Machine) -> None:
        super().__init__(cluster, machine)
        self._running: CoordinatorProcess

    def start(self) -> None:
        """Begin, or begin again after ``kill``: over the same disk, if there is one."""
        cluster = self._cluster
        process = self._born()
        store = cluster.open_store(process)
        self._running = CoordinatorProcess(
            process, cluster.network, cluster.door, cluster.folder, cluster.settings, store
        )

    def restart(self) -> None:
        """Kill it, and start it at once."""
        self.kill()
        self.start()

    def fill_disk(self) -> None:
        """Nothing can be stored from here on: ``StorageFull``."""
        disk = self._cluster.disk
        if disk is not None:
            disk.full, disk.room = True, "there is no room on the disk"

    def make_room(self) -> None:
        """The disk is not full any more."""
        disk = self._cluster.disk
        if disk is not None:
            disk.full, disk.room = False, ""
