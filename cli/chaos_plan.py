"""The jobs of a chaos run, drawn from its seed: what each does, when, and how it may end."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence
from typing import NamedTuple

KINDS: dict[str, float] = {
    "short": 52.0,
    "spin": 20.0,
    "item": 10.0,
    "fails": 6.0,
    "flaky": 6.0,
    "cancelled": 3.0,
    "endless": 1.0,
    "large": 1.5,
    "crashes": 0.5,
}
"""How many of a hundred. The items are the jobs of one ``map``; ``flaky`` ones need retries."""

LEAST = ("short", "spin", "fails", "cancelled", "endless", "large", "crashes")
"""Kinds that are in every run, however short."""

RETRIES = 3
TIMES_FLAKY = 2
"""So often a flaky job fails before it succeeds."""
LIMIT = 0.4
"""The time-out of an endless job, in seconds."""
MAX_LOSSES = 3
"""The loss that ends a job as crashed."""
LARGE = (100_000, 1_500_000)
"""Bytes of a large argument."""

_FEEDING = 0.8
"""The part of the run in which jobs are submitted."""
_BURST = 60
_KEYED = 0.6


class Task(NamedTuple):
    """One job."""

    job: int
    kind: str
    client: int
    at: float
    """Seconds after the beginning at which it is submitted."""
    seconds: float
    """How long it computes; for ``cancelled``: when after its acceptance it is cancelled."""
    size: int
    keyed: bool

    @property
    def key(self) -> str | None:
        return f"chaos:{self.job}" if self.keyed else None

    @property
    def name(self) -> str:
        """With the index in it, where no key tells that."""
        return f"chaos {self.kind}" if self.keyed else f"chaos {self.kind} {self.job}"

    @property
    def endings(self) -> frozenset[str]:
        """How it may end; ``crashed`` besides, where faults have cost it three attempts."""
        return _ENDINGS.get(self.kind, _SUCCEEDED)

    @property
    def runs(self) -> int:
        """Executions with no fault, at most."""
        return {"crashes": MAX_LOSSES, "flaky": TIMES_FLAKY + 1}.get(self.kind, 1)


_SUCCEEDED = frozenset({"succeeded"})
_ENDINGS = {
    "fails": frozenset({"failed"}),
    "endless": frozenset({"timed out"}),
    "cancelled": frozenset({"cancelled"}),
    "crashes": frozenset({"crashed"}),
}


def make_plan(seed: int, jobs: int, seconds: float, clients: int, retries: bool) -> list[Task]:
    """The jobs by index. Those of one burst are submitted at once."""
    chance = random.Random(f"{seed} jobs")  # noqa: S311  # to be drawn again from the seed
    shares = {kind: share for kind, share in KINDS.items() if retries or kind != "flaky"}
    items = round(jobs * shares.pop("item") / 100)
    kinds = [*LEAST, *chance.choices(list(shares), list(shares.values()), k=jobs)][: jobs - items]
    chance.shuffle(kinds)
    tasks: list[Task] = []
    while len(tasks) < len(kinds):
        at = chance.uniform(0, seconds * _FEEDING)
        client = chance.randrange(clients)
        for _ in range(min(chance.randint(1, _BURST), len(kinds) - len(tasks))):
            tasks.append(_task(chance, len(tasks), kinds[len(tasks)], client, at))
    first = seconds * _FEEDING * 0.1
    tasks.extend(_item(chance, number, first) for number in range(len(tasks), jobs))
    return tasks


def _task(chance: random.Random, job: int, kind: str, client: int, at: float) -> Task:
    seconds = {"spin": chance.uniform(0.01, 0.2), "cancelled": chance.uniform(0, 1.0)}
    size = chance.randint(*LARGE) if kind == "large" else 0
    keyed = chance.random() < _KEYED or kind == "cancelled"  # or nobody might know what to cancel
    return Task(job, kind, client, at, seconds.get(kind, 0.0), size, keyed)


def _item(chance: random.Random, job: int, at: float) -> Task:
    """The items of the ``map`` belong to client 0, in order, and have no keys."""
    return Task(job, "item", 0, at, chance.choice([0.0, 0.0, 0.02]), 0, False)


def items(plan: Sequence[Task]) -> list[Task]:
    """The jobs of the one ``map``, by place."""
    return [task for task in plan if task.kind == "item"]


def argument(job: int, size: int) -> bytes:
    """What a job is given."""
    return hashlib.shake_128(b"ampacity %d" % job).digest(min(size, 4096)) * (size // 4096 or 1)


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]


def right_value(task: Task) -> str:
    """The digest of what a job computes: of its argument turned round, behind its index."""
    return digest(b"%d:" % task.job + argument(task.job, task.size)[::-1])
