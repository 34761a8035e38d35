"""What the jobs of a virtual cluster do: scripts by number, and the bytes that name them."""

from __future__ import annotations

from enum import Enum
from random import Random

import attrs
from ampacity.protocol.jobs import JobSpec, pack_spec


class Way(Enum):
    """How an execution ends that is left alone."""

    SUCCEED = "succeed"
    FAIL = "fail"
    DIE = "die"
    """The child dies with it."""
    HANG = "hang"
    """It never ends by itself."""


@attrs.frozen
class Doing:
    """One execution: how it ends, after how many seconds, and how long it resists a signal."""

    way: Way
    seconds: float
    resists: float = 0.0


@attrs.frozen
class Script:
    """One job: how it is submitted, and what its executions do, the last one again and again."""

    number: int
    spec: JobSpec
    doings: tuple[Doing, ...]
    key: str | None = None
    cancel_after: float | None = None
    """Seconds from its submission until its submitter cancels it."""

    @property
    def payload(self) -> bytes:
        """What names the script where the job runs."""
        return b"%d" % self.number

    def packed(self) -> bytes:
        return pack_spec(self.spec)

    def doing(self, execution: int) -> Doing:
        """What the execution does, counted from 0."""
        return self.doings[min(execution, len(self.doings) - 1)]


def make_scripts(random: Random, count: int) -> list[Script]:
    """Random jobs. All of them end, whatever happens: who hangs has a bound, or is cancelled."""
    return [_script(random, number) for number in range(count)]


def _script(random: Random, number: int) -> Script:
    kind = random.random()
    spec = JobSpec(kind="import", target=f"virtual:f{random.randrange(3)}")
    doings = tuple(_doing(random) for _ in range(random.choice((1, 1, 1, 2, 3))))
    key = f"k{random.randrange(30)}" if random.random() < 0.2 else None
    cancel_after = random.uniform(0.0, 6.0) if random.random() < 0.12 else None
    if kind < 0.1:
        spec = attrs.evolve(spec, timeout=random.choice((0.05, 0.5, 3.0)))
        doings = (*doings, Doing(Way.HANG, 0.0, random.choice((0.0, 0.3, 2.0))))
    elif kind < 0.2:
        spec = attrs.evolve(spec, deadline=random.choice((0.5, 4.0, 20.0)))
    elif kind < 0.3:
        spec = attrs.evolve(spec, orphans="cancel")
    if random.random() < 0.3:
        spec = attrs.evolve(spec, retries=random.randrange(1, 4), backoff=random.choice((0.1, 1.0)))
    if random.random() < 0.1:
        spec = attrs.evolve(spec, max_losses=random.randrange(0, 2))
    return Script(number, spec, doings, key, cancel_after)


def _doing(random: Random) -> Doing:
    seconds = random.choice((0.0, 0.005, 0.03, 0.1, 0.5, 1.0, random.uniform(0.5, 6.0)))
    chance = random.random()
    way = Way.SUCCEED if chance < 0.8 else Way.FAIL if chance < 0.95 else Way.DIE
    return Doing(way, seconds, random.choice((0.0, 0.0, 0.2)))
