"""Run seeds of the virtual cluster: ``python -m ampacity.tests.virtual --seed 17``."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

from ampacity.tests.virtual.cluster import run_seed


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m ampacity.tests.virtual", description=__doc__)
    parser.add_argument("--seed", type=int, help="one seed, with its trace")
    parser.add_argument("--seeds", type=int, nargs=2, metavar=("FIRST", "LAST"))
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="amp") as name:
        if given.seed is not None:
            account = run_seed(given.seed, Path(name))
            print(account.trace)
            print(account.told() if account.wrong else "nothing is wrong")
            return 1 if account.wrong else 0
        first, last = given.seeds or (0, 1000)
        return _many(first, last, Path(name))


def _many(first: int, last: int, folder: Path) -> int:
    begun, failed, steps = time.monotonic(), 0, 0
    for seed in range(first, last):
        account = run_seed(seed, folder)
        steps += account.steps
        if account.wrong:
            failed += 1
            print(account.told(), flush=True)
    seconds = time.monotonic() - begun
    each = seconds / max(1, last - first) * 1000
    print(f"{last - first} seeds, {failed} failed, {steps} steps, {each:.1f} ms a seed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
