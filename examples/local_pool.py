"""CPU-heavy work in processes of this machine, from a Twisted program that goes on meanwhile.

python examples/local_pool.py
"""

from __future__ import annotations

import lzma
import time
from pathlib import Path
from typing import Any

from ampacity import Pool
from twisted.internet import task
from twisted.internet.defer import Deferred


def compressed_size(path: str) -> int:
    """How small LZMA makes a file."""
    return len(lzma.compress(Path(path).read_bytes(), preset=9))


async def work(reactor: Any) -> None:
    beats = task.LoopingCall(lambda: None)
    beats.start(0.01)
    files = sorted(str(path) for path in Path(lzma.__file__).parent.glob("*.py"))[:40]
    async with Pool(reactor=reactor) as pool:
        began = time.monotonic()
        total = 0
        async for size in pool.map(compressed_size, files):
            total += size
        print(f"{len(files)} files: {total} bytes, in {time.monotonic() - began:.1f} s")

        job = pool.options(timeout=0.5, name="too long").submit(time.sleep, 60)
        failed = await job.result().addErrback(lambda failure: failure.value)
        print(f"{type(failed).__name__}: {failed}")
    beats.stop()


if __name__ == "__main__":
    task.react(lambda reactor: Deferred.fromCoroutine(work(reactor)))
