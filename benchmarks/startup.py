"""A cold start: from nothing to the first result, and to a result of every slot.

A fresh interpreter imports the library, starts a pool on this machine, and waits for one job; the
time counts from the start of that interpreter. Of the local pool, and of ``ProcessPoolExecutor``.
"""

from __future__ import annotations

import time

from .kit import fresh
from .kit.measured import Measured
from .kit.plan import Plan
from .kit.program import main
from .ways import EXECUTOR

OURS = "ampacity, Pool()"


def measure(plan: Plan) -> Measured:
    measured = Measured("startup", "A cold start")
    ways = {OURS: "programs.cold_pool", EXECUTOR: "programs.cold_executor"}
    found: dict[str, list[dict[str, float]]] = {way: [] for way in ways}
    for _ in range(plan.times):
        for way, program in ways.items():
            found[way].append(fresh.run(program, time.time(), plan.slots, seconds=60))
    for what in ("imported", "first result", "every slot"):
        for way, runs in found.items():
            measured.add(f"from nothing: {what}", way, "s", [run[what] for run in runs])
    return measured


if __name__ == "__main__":
    main(measure, __doc__)
