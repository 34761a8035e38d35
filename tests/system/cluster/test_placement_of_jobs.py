"""Jobs behind long ones are begun elsewhere at once, whatever holds their child."""

from __future__ import annotations

import hashlib
import time
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from twisted.internet.task import deferLater

TRIES = 5
"""The best of them counts: a loaded machine delays whom it likes."""
BOUND = 0.1


def when(path: str) -> tuple[float, float]:
    """When it was begun, and whether the long job had been by then."""
    return time.time(), float(Path(path).read_text() or 0)


def long_sleep(path: str, seconds: float) -> None:
    Path(path).write_text(str(time.time()))
    time.sleep(seconds)


def long_in_c(path: str, seconds: float) -> None:
    """Holds the interpreter's lock in C code that looks at nothing else."""
    Path(path).write_text(str(time.time()))
    until = time.time() + seconds
    while time.time() < until:
        pow(3, 2_000_000)  # one call, about a tenth of a second
        hashlib.sha256(b"x" * 2000)


@pytest.mark.alone
@pytest.mark.parametrize("long", [long_sleep, long_in_c])
@pytest_twisted.ensureDeferred
async def test_a_job_behind_a_long_one_is_begun_elsewhere(
    cluster: Any, tmp_path: Path, long: Any, until: Any
) -> None:
    await cluster.start()
    await cluster.worker("one")
    pool = cluster.pool()
    path = tmp_path / "long"
    path.touch()
    # the function is known as a short one, so that others are given with it to the same child
    assert await pool.map(when, [str(path)] * 200)
    for _ in range(20):
        await pool.submit(long, str(path), 0.0)
    await cluster.worker("two")
    late = []
    for _ in range(TRIES):
        path.write_text("")
        jobs = [pool.submit(long, str(path), 1.0)]
        jobs += [pool.submit(long, str(tmp_path / f"short{n}"), 0.0) for n in range(20)]
        for job in jobs[1:]:
            await job
        begun = max(float((tmp_path / f"short{n}").read_text()) for n in range(20))
        late.append(begun - float(path.read_text()))
        await jobs[0]
        if late[-1] < BOUND:
            break
        await deferLater(pool._engine.reactor, 0.1)
    assert min(late) < BOUND, late
