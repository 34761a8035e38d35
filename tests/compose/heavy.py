"""Jobs, mounted into the containers with the rest of the checkout."""

import os
import time


def count_primes(below: int) -> int:
    """By trial division, which takes its time."""
    return sum(all(n % d for d in range(2, int(n**0.5) + 1)) for n in range(2, below))


def note(file: str, seconds: float, number: int) -> int:
    """A number's square, after a while; each run leaves a line at its begin and one at its end."""
    _append(file, f"began {number}\n")
    time.sleep(seconds)
    _append(file, f"ended {number}\n")
    return number * number


def _append(file: str, line: str) -> None:
    """In one write, so that lines of several processes stay apart."""
    opened = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(opened, line.encode())
    os.close(opened)


def filler(size: int) -> str:
    return "x" * size
