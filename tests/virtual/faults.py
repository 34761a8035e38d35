"""How each fault of a schedule strikes, and how it is healed."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from ampacity.testing.timeline import Machine, Process

from .schedule import Fault

if TYPE_CHECKING:
    from .cluster import Cluster

SEVERAL_RESETS = 15.0
"""Seconds within which a second reset may add to the waits after the first."""

Strike = Callable[[Fault], None]


class Faults:
    """Strikes a cluster. All that lasts ends by itself, or with ``heal``."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._resets: dict[Machine, float] = {}
        self._lasting: dict[tuple[str, str], Callable[[], None]] = {}
        self._strikes: dict[str, Strike] = {
            "kill worker": lambda f: self._kill(self._worker(f), f, off=False),
            "power off worker": lambda f: self._kill(self._worker(f), f, off=True),
            "kill child": self._kill_child,
            "drain worker": self._drain,
            "pause worker": lambda f: self._pause(
                self._cluster.workers[self._worker(f)].process, f
            ),
            "pause client": lambda f: self._pause(
                self._cluster.clients[self._client(f)].process, f
            ),
            "pause coordinator": lambda f: self._pause(self._cluster.coordinator.process, f),
            "kill client": lambda f: self._kill(self._client(f), f, off=False),
            "stop coordinator": self._stop_coordinator,
            "kill coordinator": lambda f: self._kill(self._cluster.desk, f, off=False),
            "power off coordinator": lambda f: self._kill(self._cluster.desk, f, off=True),
            "reset": self._reset,
            "silence": self._silence,
            "one way": self._one_way,
            "slow": self._slow,
            "wall clock": self._set_wall_clock,
            "full disk": self._fill_disk,
            "broken disk": self._break_disk,
        }

    def strike(self, fault: Fault) -> None:
        self._strikes[fault.kind](fault)
        self._cluster.check_invariants()

    def heal(self) -> None:
        """The end of all faults."""
        lasting, self._lasting = self._lasting, {}
        for end in lasting.values():
            end()

    # -- whom -------------------------------------------------------------------------------------

    def _worker(self, fault: Fault) -> Machine:
        """One that runs something, if there is one: the idle lose nothing."""
        workers = self._cluster.workers
        machines = self._cluster.worker_machines
        busy = [m for m in machines if workers[m].process.alive and workers[m].slots.running]
        machines = busy or machines
        return machines[fault.whom % len(machines)]

    def _client(self, fault: Fault) -> Machine:
        machines = self._cluster.client_machines
        return machines[fault.whom % len(machines)]

    def _peer(self, fault: Fault) -> Machine:
        machines = [*self._cluster.worker_machines, *self._cluster.client_machines]
        return machines[fault.whom % len(machines)]

    def _begin(self, fault: Fault, name: str, end: Callable[[], None]) -> None:
        """The fault lasts for its time; where one of its kind lasts already, that one is over."""
        key = fault.kind, name
        self._end(key)
        self._lasting[key] = end
        whom = "*" if name == self._cluster.desk.name else name
        self._cluster.history.trouble(whom, fault.seconds)
        self._cluster.history.note("FAULT", fault.kind, name, f"for {fault.seconds:.2f} s")
        self._cluster.timeline.after(fault.seconds, self._end_if, key, end)

    def _end_if(self, key: tuple[str, str], end: Callable[[], None]) -> None:
        if self._lasting.get(key) is end:
            self._end(key)

    def _end(self, key: tuple[str, str]) -> None:
        end = self._lasting.pop(key, None)
        if end is not None:
            self._cluster.history.note("HEALED", *key)
            end()

    # -- processes --------------------------------------------------------------------------------

    def _kill(self, machine: Machine, fault: Fault, off: bool) -> None:
        process = self._process_on(machine)
        if not process.alive:
            return
        machine.off = off
        process.kill()

        def start() -> None:
            machine.off = False
            self._start(machine)

        self._begin(fault, machine.name, start)

    def _process_on(self, machine: Machine) -> Process:
        cluster = self._cluster
        if machine is cluster.desk:
            return cluster.coordinator.process
        if machine in cluster.workers:
            return cluster.workers[machine].process
        return cluster.clients[machine].process

    def _start(self, machine: Machine) -> None:
        cluster = self._cluster
        if self._process_on(machine).alive:
            return
        if machine is cluster.desk:
            cluster.start_coordinator()
        elif machine in cluster.workers:
            cluster.start_worker(machine)
        else:
            cluster.start_client(machine)

    def _kill_child(self, fault: Fault) -> None:
        worker = self._cluster.workers[self._worker(fault)]
        if worker.process.alive and not worker.process.paused and worker.slots.kill_a_child():
            self._cluster.history.note("FAULT", fault.kind, worker.process.name)

    def _drain(self, fault: Fault) -> None:
        """It leaves in order, and comes back as another life when it has left."""
        machine = self._worker(fault)
        worker = self._cluster.workers[machine]
        if not worker.process.alive or worker.process.paused or not worker.agent.running:
            return
        self._cluster.history.trouble(machine.name, 20.0)
        self._cluster.history.note("FAULT", fault.kind, worker.process.name)

        def left(_: object) -> None:
            self._cluster.history.note("left", worker.process.name)
            worker.process.kill()
            self._cluster.timeline.after(0.1, self._start, machine)

        worker.agent.stopService().addCallback(left)

    def _stop_coordinator(self, fault: Fault) -> None:
        """It stores what has come, and leaves; another one is started later."""
        coordinator = self._cluster.coordinator
        process = coordinator.process
        if process.alive and not process.paused:
            coordinator.driver.stop().addBoth(lambda _: process.kill())
            self._begin(fault, process.machine.name, lambda: self._after_stop(process))

    def _after_stop(self, process: Process) -> None:
        process.kill()
        self._start(self._cluster.desk)

    def _pause(self, process: Process, fault: Fault) -> None:
        if not process.alive:
            return
        process.pause()
        self._begin(fault, process.machine.name, process.go_on)

    # -- the network ------------------------------------------------------------------------------

    def _reset(self, fault: Fault) -> None:
        machine = self._peer(fault)
        cluster = self._cluster
        cut = cluster.network.reset(machine, cluster.desk)
        now, before = cluster.timeline.now, self._resets.get(machine, 0.0)
        self._resets[machine] = now
        if now - before < SEVERAL_RESETS:  # one alone costs nothing: there is a lease
            cluster.history.trouble(machine.name)
        cluster.history.note("FAULT", fault.kind, machine.name, f"{cut} connections")

    def _silence(self, fault: Fault) -> None:
        machine, desk, network = self._peer(fault), self._cluster.desk, self._cluster.network
        network.stall(machine, desk)
        network.stall(desk, machine)
        self._begin(fault, machine.name, lambda: self._clear(machine))

    def _one_way(self, fault: Fault) -> None:
        machine, desk, network = self._peer(fault), self._cluster.desk, self._cluster.network
        if fault.toward:
            network.stall(machine, desk)
        else:
            network.stall(desk, machine)
        self._begin(fault, machine.name, lambda: self._clear(machine))

    def _clear(self, machine: Machine) -> None:
        network, desk = self._cluster.network, self._cluster.desk
        network.heal(machine, desk)
        network.heal(desk, machine)

    def _slow(self, fault: Fault) -> None:
        machine, desk, network = self._peer(fault), self._cluster.desk, self._cluster.network
        for way in (network.way(machine, desk), network.way(desk, machine)):
            way.seconds, way.rate = 0.05 + (fault.whom % 7) * 0.1, 5000.0
        self._begin(fault, machine.name, lambda: self._clear(machine))

    # -- clocks and disks -------------------------------------------------------------------------

    def _set_wall_clock(self, fault: Fault) -> None:
        cluster = self._cluster
        machines = [cluster.desk, *cluster.worker_machines]
        machine = machines[fault.whom % len(machines)]
        machine.ahead += 3600.0 * (1 if fault.toward else -1)
        cluster.history.note("FAULT", fault.kind, machine.name, f"ahead {machine.ahead:.0f} s")

    def _fill_disk(self, fault: Fault) -> None:
        self._cluster.stores.fill()
        self._begin(fault, self._cluster.desk.name, self._cluster.stores.make_room)

    def _break_disk(self, fault: Fault) -> None:
        """The coordinator ends with the next commit, and is started again."""
        self._cluster.history.note("FAULT", fault.kind)
        self._cluster.stores.break_down()

    def end_broken(self, process: Process) -> None:
        """A coordinator cannot rely on its store, and ends."""
        cluster = self._cluster
        cluster.history.trouble("*", 1.0)
        cluster.history.note("ends", process.name, "its store is broken")
        process.kill()
        cluster.timeline.after(1.0, self._start, cluster.desk)
