"""The peer on one machine: ``python -m ampacity.benchmarks.executor WORKERS N``.

Prints a JSON object as ``bulk`` does, for ``concurrent.futures.ProcessPoolExecutor.submit``.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from concurrent.futures import ProcessPoolExecutor

from .bulk import SINGLES, WARM_UP
from .jobs import noop


def in_bulk(pool: ProcessPoolExecutor, count: int) -> float:
    """Seconds from the first call to the last result."""
    started = time.perf_counter()
    futures = [pool.submit(noop, number) for number in range(count)]
    for number, future in enumerate(futures):
        assert future.result() == number
    return time.perf_counter() - started


def main(workers: int, count: int) -> None:
    with ProcessPoolExecutor(workers) as pool:
        in_bulk(pool, WARM_UP)
        rate = count / in_bulk(pool, count)
        single = statistics.median(in_bulk(pool, 1) for _ in range(SINGLES))
    print(json.dumps({"rate": rate, "single": single}))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
