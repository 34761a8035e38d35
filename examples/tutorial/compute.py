"""The second path: for those who only compute, without a reactor in sight."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from ampacity import JobsFailed
from ampacity.blocking import Pool
from mailroom import render

NAMES = ["ada", "grace", "edsger", "barbara", "alan", "frances", "donald", "kathleen"]


def size_of(name: str) -> int:
    return len(render(name))


def size_with_paint(name: str) -> int:
    """The same, for a shop that has run out of one colour."""
    if name == "edsger" and not Path("blue").exists():
        raise FileNotFoundError("there is no blue paint")
    return size_of(name)


def letters(count: str) -> list[str]:
    return [f"letter {number}" for number in range(int(count))]


def alone(count: str = "60") -> Iterable[int]:
    return map(size_of, letters(count))


def pool(count: str = "60") -> Iterable[int]:
    with Pool() as pool:
        yield from pool.map(size_of, letters(count))


def submit() -> Iterable[int]:
    with Pool.connect() as pool:
        sizes = pool.options(name="portraits").map(size_with_paint, NAMES)
        sizes.submitted()
        print("they are drawn without us; ask again for", sizes.id)
    return []


def collect(group: str) -> Iterable[int]:
    with Pool.connect() as pool:
        try:
            yield from pool.group(group).result()
        except JobsFailed as error:
            for place, why in error.failures.items():
                print(f"no picture of {NAMES[place]}: {why}")


def retry(group: str) -> Iterable[int]:
    with Pool.connect() as pool:
        yield from pool.group(group).retry_failed()


WHAT: dict[str, Callable[..., Iterable[int]]] = {
    "alone": alone,
    "pool": pool,
    "submit": submit,
    "collect": collect,
    "retry": retry,
}

if __name__ == "__main__":
    began = time.monotonic()
    sizes = list(WHAT[sys.argv[1]](*sys.argv[2:]))
    if sizes:
        print(f"{len(sizes)} pictures, {sum(sizes)} bytes, in {time.monotonic() - began:.2f} s")
