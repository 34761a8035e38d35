"""What every measurement is as a program: ``python -m ampacity.benchmarks.NAME [--quick]``."""

from __future__ import annotations

import argparse
import json
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from .measured import Measured, plain
from .plan import Plan
from .tables import as_text

Measure = Callable[[Plan], Measured]


def arguments(description: str | None) -> argparse.ArgumentParser:
    """The options that all of them have."""
    parser = argparse.ArgumentParser(description=(description or "").split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="only see that it works")
    parser.add_argument("--rounds", type=int, default=5, help="how often each is measured")
    parser.add_argument("--slots", type=int, default=2, help="processes that run jobs")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write what was found there")
    parser.add_argument("--profile", type=Path, metavar="FOLDER", help="leave profiles there")
    return parser


def plan_of(given: argparse.Namespace) -> Plan:
    if given.profile is not None:
        given.profile.mkdir(parents=True, exist_ok=True)
    profile = None if given.profile is None else str(given.profile.resolve())
    return Plan(quick=given.quick, rounds=given.rounds, slots=given.slots, profile=profile)


def timed(measure: Measure, plan: Plan) -> Measured:
    started = time.monotonic()
    measured = measure(plan)
    measured.seconds = time.monotonic() - started
    return measured


def end_when_asked() -> None:
    """SIGTERM ends a program as an exception does, which ends the processes that it has started."""
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))


def main(measure: Measure, description: str | None, argv: Sequence[str] | None = None) -> None:
    """Measure, print a table, and leave JSON where it is wanted."""
    end_when_asked()
    given = arguments(description).parse_args(argv)
    measured = timed(measure, plan_of(given))
    print(as_text(measured))
    if given.json is not None:
        given.json.write_text(json.dumps(plain(measured)))


def say(text: str) -> None:
    """How it goes on, for who waits."""
    print(f"  {text}", file=sys.stderr, flush=True)
