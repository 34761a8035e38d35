"""METG(50%) of the peers, and of ampacity beside them: see ``metg``."""

from __future__ import annotations

from .kit import fresh
from .kit.cluster import Cluster
from .kit.kernel import loops_a_second
from .kit.measured import Measured
from .kit.plan import Plan
from .kit.program import main
from .kit.rivals import rivals, try_to
from .metg import note, told
from .ways import UNIX

LONGEST = 0.3162
"""Seconds: every peer is efficient with jobs that are longer."""
MOST_JOBS = 10_000


def measure(plan: Plan) -> Measured:
    measured = Measured("peers_metg", "Efficiency and METG(50%), and the peers")
    measured.base = {"METG(50%)": UNIX}
    words = told(plan, loops_a_second(plan.slots), LONGEST, MOST_JOBS)
    with Cluster(plan) as cluster:
        note(measured, UNIX, [fresh.run("programs.grains", cluster.address, *words)], plan)
    for rival in rivals(measured):
        if rival.module == "threads":
            continue  # of one process: they never use more than one processor for Python
        if (found := try_to(measured, rival, plan, "grains", *words)) is not None:
            note(measured, rival.way, [found], plan)
    return measured


if __name__ == "__main__":
    main(measure, __doc__)
