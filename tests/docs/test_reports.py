"""Accounts that pages show, and that take minutes to come to, are printed as they are shown: here
the programs that print them are given the figures of the page."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from types import SimpleNamespace
from typing import Any

import pytest
from ampacity.cli import chaos_report
from ampacity.examples.demo import __main__ as demo
from ampacity.tests.docs import shown

README = (shown.ROOT / "README.md").read_text()
FAULTS = (shown.ROOT / "docs" / "explanation" / "faults.md").read_text()


def block(page: str, begin: str) -> list[str]:
    """The lines of the block of a page that begins so."""
    found = re.search(rf"^```\w*\n({re.escape(begin)}.*?)^```", page, re.M | re.S)
    assert found is not None
    return found[1].splitlines()


def account(**verdict: Any) -> Iterable[str]:
    """What ``ampacity chaos`` prints of a run that found nothing wrong."""
    wish = SimpleNamespace(jobs=500, workers=3, slots=2, clients=2, seed=5)
    wish.command = lambda: "ampacity chaos --seed 5 --jobs 500 --workers 3"
    found = SimpleNamespace(**verdict, refusals=0, wrongs=[], count=lambda kind: 0)
    result = SimpleNamespace(wish=wish, verdict=found, seconds=61.0, proved=True, folder=None)
    result.missed, result.skipped, result.untidy, result.tracebacks = 0, {}, [], []
    return chaos_report.lines(result)  # type: ignore[arg-type]  # all of it that is asked for


def begins(line: str, wanted: str) -> bool:
    """Whether a line is this one; where that ends with ``...``, whether it begins so."""
    return line.startswith(wanted[:-3]) if wanted.endswith("...") else line == wanted


def test_the_account_of_faults() -> None:
    endings = {"succeeded": 447, "failed": 19, "timed out": 10, "cancelled": 21, "crashed": 3}
    faults = {"kill-coordinator": 4, "kill-worker": 5}
    counts = {"submitted": 500, "executions": 527, "again": 6, "in_flight": 96}
    printed = account(faults=faults, endings=endings, **counts)
    wanted = block(FAULTS, "500 jobs, 3 workers")
    assert [a for a, b in zip(printed, wanted, strict=True) if not begins(a, b)] == []


def test_the_account_of_faults_in_the_readme() -> None:
    endings = {"succeeded": 9009, "failed": 545, "timed out": 104, "cancelled": 286, "crashed": 56}
    counts = {"submitted": 10000, "executions": 0, "again": 0, "in_flight": 0}
    printed = list(account(faults={}, endings=endings, **counts))
    for wanted in block(README, "account "):
        assert any(begins(line, wanted) for line in printed), wanted


def test_the_end_of_the_demo(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    workers = [{"name": "east", "finished": 398}, {"name": "west", "finished": 402}]
    alone = SimpleNamespace(seconds=4.41, results=range(80))
    together = SimpleNamespace(seconds=24.3, workers=workers, lag={"p99": 0.0047})
    together.outcomes = [{"outcome": "succeeded"}] * 800
    rows = demo.table(alone, together, 800)  # type: ignore[arg-type]  # all that is asked for
    assert block(README, "  jobs ") == [f"  {name:24}{value}" for name, value in rows]
