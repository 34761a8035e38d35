"""A cold ``ProcessPoolExecutor``: prints what ``cold_pool`` does, for the same words."""

from __future__ import annotations

import json
import sys
import time
from concurrent.futures import ProcessPoolExecutor

from ..jobs import linger

PAUSE = 0.05


def main(started: float, slots: int) -> None:
    found = {"imported": time.time() - started}
    with ProcessPoolExecutor(slots) as pool:
        pool.submit(linger, 0.0).result()
        found["first result"] = time.time() - started
        pids: set[int] = set()
        while len(pids) < slots:
            pids |= set(pool.map(linger, [PAUSE] * slots))
        found["every slot"] = time.time() - started
    print(json.dumps(found))


if __name__ == "__main__":
    main(float(sys.argv[1]), int(sys.argv[2]))
