"""What the jobs of the contract suite call."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any


def double(n: int) -> int:
    return n * 2


def divide(dividend: float, *, divisor: float) -> float:
    return dividend / divisor


def echo(value: Any) -> Any:
    return value


def append(items: list[int]) -> list[int]:
    items.append(4)
    return items


def variable(name: str) -> str | None:
    return os.environ.get(name)


def say_and_fail() -> None:
    print("the last words")
    raise ValueError("as it should")


class NotRebuilt(Exception):
    def __init__(self, one: int, two: int) -> None:
        super().__init__("needs two")


def raise_not_rebuilt() -> None:
    raise NotRebuilt(1, 2)


def not_to_be_pickled() -> Any:
    return (number for number in range(3))


def fail_until(path: str, times: int) -> int:
    """Fails so many times, counted in a file."""
    file = Path(path)
    count = int(file.read_text()) if file.exists() else 0
    file.write_text(str(count + 1))
    if count < times:
        raise OSError("not yet")
    return count


def hang() -> None:
    time.sleep(60)


def crash() -> None:
    os.kill(os.getpid(), signal.SIGSEGV)
