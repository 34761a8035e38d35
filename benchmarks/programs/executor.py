"""The peer on one machine: ``python -m ...programs.executor WORKERS COUNT SINGLES``.

Prints ``rate`` and ``singles`` as ``client`` does, for ``ProcessPoolExecutor.submit``.
"""

from __future__ import annotations

import json
import sys
import time
from concurrent.futures import ProcessPoolExecutor

from ..jobs import noop

WARM_UP = 10_000


def in_bulk(pool: ProcessPoolExecutor, count: int) -> float:
    """Seconds from the first call to the last result."""
    started = time.perf_counter()
    futures = [pool.submit(noop, number) for number in range(count)]
    for number, future in enumerate(futures):
        assert future.result() == number
    return time.perf_counter() - started


def main(workers: int, count: int, singles: int) -> None:
    with ProcessPoolExecutor(workers) as pool:
        in_bulk(pool, min(WARM_UP, count))
        rate = count / in_bulk(pool, count)
        found = [in_bulk(pool, 1) for _ in range(singles)]
    print(json.dumps({"rate": rate, "singles": found}))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
