"""Which faults strike a chaos run, and when: drawn from its seed."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import NamedTuple


class Fault(NamedTuple):
    """One kind of fault."""

    every: float
    """Seconds between two strikes, unless the user says otherwise."""
    lasting: tuple[float, float]
    """Seconds that one lasts: from, to."""
    text: str

    def shown(self, name: str) -> str:
        """As it is written in a command line: only what is not by default."""
        default = FAULTS[name]
        if self == default:
            return name
        return f"{name}={self.every:g}" + (
            "" if self.lasting == default.lasting else f":{self.lasting[0]:g}"
        )


FAULTS: dict[str, Fault] = {
    "kill-worker": Fault(5.0, (0, 0), "a worker is killed, and started again"),
    "kill-child": Fault(3.0, (0, 0), "a child is killed"),
    "kill-coordinator": Fault(10.0, (0, 0), "the coordinator is killed, and started again"),
    "kill-client": Fault(10.0, (0, 0), "a client program is killed; the next one takes over"),
    "stop-worker": Fault(12.0, (0.5, 25.0), "a worker stands still for a while (SIGSTOP)"),
    "stop-child": Fault(6.0, (0.2, 4.0), "a child stands still for a while"),
    "stop-coordinator": Fault(15.0, (0.2, 8.0), "the coordinator stands still for a while"),
    "stop-client": Fault(12.0, (0.5, 8.0), "a client program stands still for a while"),
    "reset": Fault(4.0, (0, 0), "a connection is reset"),
    "half-open": Fault(12.0, (1.0, 20.0), "one side of a connection is gone, untold to the other"),
    "silence": Fault(12.0, (1.0, 25.0), "nothing comes through a connection, one way"),
    "black-hole": Fault(15.0, (1.0, 25.0), "nothing comes through a connection, either way"),
    "slow": Fault(8.0, (1.0, 8.0), "a connection carries 20 kB a second"),
    "delay": Fault(8.0, (1.0, 8.0), "a connection takes 0.3 s longer each way"),
    "slices": Fault(8.0, (1.0, 5.0), "a connection carries a few bytes at a time"),
    "cut-network": Fault(20.0, (1.0, 25.0), "the network of a worker's host is down"),
    "full-disk": Fault(20.0, (1.0, 5.0), "the coordinator's disk is full"),
    "failed-sync": Fault(25.0, (0, 0), "an fsync of the coordinator fails"),
    "clock": Fault(5.0, (1.0, 6.0), "the wall clock of a process jumps an hour, and back"),
}


class Strike(NamedTuple):
    """One fault to come: seconds after the beginning, what, how long, and whom it shall hit."""

    at: float
    fault: str
    lasting: float
    pick: float
    """From 0 to 1: the place of the victim among those that there are then."""


def make_schedule(seed: int, seconds: float, faults: Mapping[str, Fault]) -> list[Strike]:
    """The strikes of these faults, in order; what lasts ends with the time."""
    strikes: list[Strike] = []
    for name, fault in sorted(faults.items()):
        chance = random.Random(f"{seed} {name}")  # noqa: S311  # to be drawn again from the seed
        at = min(fault.every * chance.uniform(0.5, 1.0), seconds / 2)
        while at < seconds:
            lasting = chance.uniform(*fault.lasting)
            strikes.append(Strike(at, name, min(lasting, seconds - at), chance.random()))
            at += fault.every
    return sorted(strikes)


def parse_faults(text: str) -> dict[str, Fault]:
    """``reset,kill-worker=2,silence=10:20``: these faults; one every 2 s; each for 20 s.

    Raises:
        ValueError: there is no such fault, or a number is none.
    """
    faults: dict[str, Fault] = {}
    for word in text.replace(",", " ").split():
        name, _, numbers = word.partition("=")
        every, _, lasting = numbers.partition(":")
        if name not in FAULTS:
            raise ValueError(f"there is no fault {name!r:.40}; there are: {', '.join(FAULTS)}")
        fault = FAULTS[name]
        if every:
            fault = fault._replace(every=_seconds(every))
        if lasting:
            fault = fault._replace(lasting=(_seconds(lasting), _seconds(lasting)))
        faults[name] = fault
    return faults


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0.1 <= seconds < float("inf"):
        raise ValueError(f"{text!r:.40} is no number of seconds from 0.1")
    return seconds
