"""A client's program that lives through a day: submits, maps, large values, errors, retries."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from ampacity.blocking import Pool


def double(value: Any) -> Any:
    return value * 2


def flaky(path: str) -> str:
    with Path(path).open("a") as file:
        file.write("x")
    if Path(path).stat().st_size < 2:
        raise ValueError("not yet")
    return "at last"


def wrong(number: int) -> int:
    raise KeyError(number)


def gone() -> None:
    os._exit(3)


def main(folder: str) -> None:
    with Pool.connect(os.environ["DAY_LINE"]) as pool:
        assert pool.submit(double, 21).result(60) == 42
        assert list(pool.map(double, range(40))) == [2 * n for n in range(40)]
        assert len(pool.submit(double, b"v" * 300_000).result(60)) == 600_000
        assert pool.options(retries=2, backoff=0.1).submit(flaky, f"{folder}/flaky").result(60)
        try:
            pool.submit(wrong, 7).result(60)
        except KeyError as error:
            assert error.args == (7,)
        else:
            raise AssertionError("it did not fail")
        job = pool.options(max_losses=0).submit(gone)
        try:
            job.result(60)
        except Exception as error:
            assert type(error).__name__ == "JobCrashed", error
        print(job.id)
        assert pool.submit(double, "x").info().state


if __name__ == "__main__":
    main(sys.argv[1])
