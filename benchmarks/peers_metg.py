"""METG(50%) of the peers, and of ampacity beside them: see ``metg``."""

from __future__ import annotations

from .kit import fresh
from .kit.cluster import Cluster
from .kit.measured import Measured
from .kit.plan import Plan
from .kit.program import main
from .kit.rivals import rivals, try_to
from .metg import note, told
from .ways import TUNED, UNIX

LONGEST = 0.3162
"""Seconds: every peer is efficient with jobs that are longer."""
MOST_JOBS = 10_000
ROUNDS = 1


def measure(plan: Plan) -> Measured:
    measured = Measured("peers_metg", "Efficiency and METG(50%), and the peers")
    measured.base = {"METG(50%)": UNIX}
    words = told(plan, LONGEST, MOST_JOBS)
    times = min(plan.times, ROUNDS)
    with Cluster(plan) as cluster:
        runs = [
            fresh.run("programs.grains", cluster.address, plan.slots, *words) for _ in range(times)
        ]
    note(measured, UNIX, runs)
    for rival in rivals(measured):
        if rival.module == "threads":
            continue  # of one process: they never use more than one processor for Python
        if rival.module == "executor" and rival.mode == TUNED:
            continue  # what is tuned is its map
        answers = [try_to(measured, rival, plan, "grains", *words) for _ in range(times)]
        note(measured, rival.way, [answer for answer in answers if answer is not None])
    return measured


if __name__ == "__main__":
    main(measure, __doc__)
