"""Seeded schedules: which faults strike when, and what is submitted meanwhile."""

from __future__ import annotations

from random import Random

import attrs

from .work import Script, make_scripts

FAULTS = {
    "kill worker": 6,
    "power off worker": 1,
    "kill child": 4,
    "drain worker": 2,
    "pause worker": 2,
    "pause client": 1,
    "pause coordinator": 2,
    "kill client": 1,
    "reset": 4,
    "silence": 2,
    "one way": 3,
    "slow": 2,
    "wall clock": 1,
}
"""Kinds of faults, with how often each strikes compared to the others."""

DURABLE = {
    "kill coordinator": 3,
    "stop coordinator": 2,
    "power off coordinator": 1,
    "full disk": 2,
    "broken disk": 1,
}
"""Those that only a store on disk survives."""


@attrs.frozen
class Fault:
    """Something that happens to one machine, or to its connection with the coordinator."""

    at: float
    """Seconds from the start."""
    kind: str
    whom: int
    """A number from which a machine of the fault's kind is chosen."""
    seconds: float
    toward: bool
    """Of a silence in one direction: toward the coordinator."""


@attrs.frozen
class Wish:
    """Something that a client asks about jobs of its own that it was told the end of."""

    at: float
    what: str
    """``retry`` or ``forget``."""
    client: int
    most: int


@attrs.frozen
class Plan:
    """All that a seed decides beforehand."""

    workers: tuple[int, ...]
    """The slots of each."""
    clients: int
    seconds: float
    """For how long there are faults."""
    faults: tuple[Fault, ...]
    scripts: tuple[Script, ...]
    submissions: tuple[tuple[float, int, tuple[int, ...]], ...]
    """When, which client, which scripts; more than one are a group."""
    wishes: tuple[Wish, ...]
    commit_seconds: tuple[float, float]
    durable: bool
    """Whether the store is on a disk."""
    small: bool
    """Whether little of a queue is held in memory, and long lists are cut in short slices."""
    impatient: bool
    """Whether silence is noticed and leases are over after a few seconds."""


def plan(seed: int) -> Plan:
    """The plan of a seed. One in eight has no fault at all: there, every job runs once."""
    random = Random(f"plan {seed}")
    durable = random.random() < 0.75
    seconds = random.choice((3.0, 10.0, 25.0))
    jobs = random.choice((10, 25, 60))
    clients = random.choice((1, 1, 2, 3))
    kinds = {**FAULTS, **DURABLE} if durable else FAULTS
    count = 0 if seed % 8 == 0 else random.choice((1, 2, 4, 8, 12))
    scripts = make_scripts(random, jobs)
    return Plan(
        workers=tuple(random.choice((1, 1, 2, 3)) for _ in range(random.choice((1, 2, 3)))),
        clients=clients,
        seconds=seconds,
        faults=tuple(_faults(random, kinds, count, seconds)),
        scripts=tuple(scripts),
        submissions=tuple(_submissions(random, scripts, clients, seconds)),
        wishes=tuple(_wishes(random, clients, seconds)),
        commit_seconds=random.choice(((0.0, 0.0), (0.0005, 0.005), (0.01, 0.2))),
        durable=durable,
        small=random.random() < 0.5,
        impatient=random.random() < 0.5,
    )


def _faults(random: Random, kinds: dict[str, int], count: int, seconds: float) -> list[Fault]:
    names, weights = list(kinds), list(kinds.values())
    chosen = random.choices(names, weights, k=random.randrange(1, 5))  # few kinds a seed, often
    faults = [
        Fault(
            random.uniform(0.0, seconds),
            random.choice(chosen),
            random.randrange(1000),
            random.choice((0.2, 2.0, 4.0, 8.0, 20.0)) * random.uniform(0.5, 1.5),
            random.random() < 0.5,
        )
        for _ in range(count)
    ]
    return sorted(faults, key=lambda fault: fault.at)


def _submissions(
    random: Random, scripts: list[Script], clients: int, seconds: float
) -> list[tuple[float, int, tuple[int, ...]]]:
    made, place = [], 0
    while place < len(scripts):
        size = random.choice((1, 1, 1, 3, 10))
        numbers = tuple(range(place, min(place + size, len(scripts))))
        made.append((random.uniform(0.0, seconds * 0.7), random.randrange(clients), numbers))
        place += size
    return sorted(made)


def _wishes(random: Random, clients: int, seconds: float) -> list[Wish]:
    return [
        Wish(
            random.uniform(0.3 * seconds, seconds),
            random.choice(("retry", "forget")),
            random.randrange(clients),
            random.randrange(1, 6),
        )
        for _ in range(random.choice((0, 0, 1, 3)))
    ]
