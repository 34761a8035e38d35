"""A script for ``test_blocking.py``: no reactor, no ``with``, functions of its own."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from typing import Any

from ampacity import JobsFailed, NoSuchJob
from ampacity.blocking import Pool
from ampacity.protocol.errors import JobCancelled


class OutOfTea(Exception):
    pass


def double(n: int) -> int:
    if n < 0:
        raise OutOfTea(n)
    return n * 2


def use(pool: Any) -> None:
    job = pool.submit(double, 4)
    assert job.result() == 8
    assert job.result(timeout=1) == 8
    assert isinstance(job.id, int)
    assert pool.map(double, range(4)) == [0, 2, 4, 6]
    assert list(pool.map(double, range(4))) == [0, 2, 4, 6]
    assert sorted(pool.map(double, [2, 1]).as_completed()) == [2, 4]
    assert len(pool.map(double, range(3))) == 3
    try:
        pool.submit(double, -1).result()
    except OutOfTea as error:
        assert "OutOfTea" in vars(error)["remote_traceback"]
    try:
        pool.map(double, [1, -1]).result()
    except JobsFailed as failed:
        assert failed.results == {0: 2}
    afterwards(pool)
    slow = pool.submit(time.sleep, 60)
    with contextlib.suppress(TimeoutError):
        slow.result(timeout=0.1)
    slow.cancel()
    try:
        slow.result()
    except JobCancelled:
        print("cancelled")


def afterwards(pool: Any) -> None:
    """What ended jobs are good for."""
    job = pool.options(name="tea").submit(double, 3)
    assert job.result() == 6
    again = job.retry()
    assert again.id != job.id
    assert again.result() == 6
    assert job.info().retried == again.id
    assert again.info().state == "succeeded"
    group = pool.map(double, [1, -1])
    with contextlib.suppress(JobsFailed):
        group.result()
    assert [one.name for one in pool.jobs(name="tea")] == ["tea", "tea"]
    with contextlib.suppress(JobsFailed):
        group.retry_failed().result()
    (once_more,) = pool.retry(pool.group(group.id))
    with contextlib.suppress(OutOfTea):
        once_more.result()
    assert pool.forget([job, group, again.id]) == 6
    assert job.forget() == "unknown"
    assert group.accepted() == group.id
    try:
        job.info()
    except NoSuchJob:
        return
    raise AssertionError("it was forgotten")


def in_threads(pool: Any) -> None:
    results: list[int] = []
    threads = [
        threading.Thread(target=lambda n=n: results.append(pool.submit(double, n).result()))
        for n in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results) == [n * 2 for n in range(8)]


def endless() -> Any:
    n = 0
    while True:
        yield n
        n += 1


def main() -> None:
    with Pool(slots=2) as pool:
        use(pool)
        in_threads(pool)
        for n in pool.map(double, endless(), in_flight=20):
            if n == 20:
                break
        last = pool.submit(double, 21)
    assert last.result() == 42, "leaving the block waits for the jobs"
    forgotten = Pool(slots=1)
    assert forgotten.submit(double, 1).result() == 2
    if "interrupt" in sys.argv:
        print("waiting", flush=True)
        forgotten.submit(time.sleep, 60).result()
    print("done")


if __name__ == "__main__":
    main()
