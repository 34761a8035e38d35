"""The floors once more, after everything else: was the machine the same all the time?"""

from __future__ import annotations

from . import floors
from .kit.measured import Measured
from .kit.plan import Plan
from .kit.program import main


def measure(plan: Plan) -> Measured:
    measured = floors.measure(plan)
    measured.name, measured.title = "floors_again", "What the machine can do, at the end"
    return measured


if __name__ == "__main__":
    main(measure, __doc__)
