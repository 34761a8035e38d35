"""A chaos run's account, for people and as JSON."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from .chaos_check import WRONGS
from .chaos_engine import Result

SHOWN = 20
"""Broken promises that are told one by one."""


def lines(result: Result) -> Iterator[str]:
    """The account."""
    wish, verdict = result.wish, result.verdict
    struck = ", ".join(f"{name} {count}" for name, count in verdict.faults.items()) or "none"
    yield (
        f"{wish.jobs} jobs, {wish.workers} workers with {wish.slots} slots each, "
        f"{wish.clients} clients, {result.seconds:.0f} s, seed {wish.seed}"
    )
    yield f"faults       {sum(verdict.faults.values())}: {struck}"
    if result.missed:
        yield f"             {result.missed} strikes found nobody to strike"
    for name, why in result.skipped.items():
        yield f"             without {name}: {why}"
    sums = " + ".join(f"{count} {ending}" for ending, count in verdict.endings.items())
    equal = "=" if verdict.submitted == sum(verdict.endings.values()) else "IS NOT"
    yield f"account      {verdict.submitted} submitted {equal} {sums}"
    yield (
        f"executions   {verdict.executions}, of them again {verdict.again}; "
        f"in flight where a fault struck: {verdict.in_flight}"
    )
    if verdict.refusals:
        yield f"refusals     {verdict.refusals}; submitted again later"
    yield "             " + ", ".join(f"{kind} {verdict.count(kind)}" for kind in WRONGS)
    yield from _what_is_wrong(result)
    yield f"run again    {wish.command()}"
    yield "PROVED: nothing is lost, nothing came twice" if result.proved else "BROKEN"


def _what_is_wrong(result: Result) -> Iterator[str]:
    wrongs = result.verdict.wrongs
    yield from (str(wrong) for wrong in wrongs[:SHOWN])
    if len(wrongs) > SHOWN:
        yield f"... and {len(wrongs) - SHOWN} more"
    yield from result.untidy
    if result.tracebacks:
        yield f"tracebacks in the logs of: {', '.join(result.tracebacks)}"
    if result.folder is not None:
        yield f"kept in      {result.folder}"


def record(result: Result) -> dict[str, Any]:
    """The same for programs."""
    wish, verdict = result.wish, result.verdict
    return {
        "proved": result.proved,
        "seed": wish.seed,
        "jobs": wish.jobs,
        "workers": wish.workers,
        "slots": wish.slots,
        "seconds": round(result.seconds, 1),
        "submitted": verdict.submitted,
        "endings": verdict.endings,
        "executions": verdict.executions,
        "again": verdict.again,
        "in_flight": verdict.in_flight,
        "refusals": verdict.refusals,
        "faults": verdict.faults,
        "skipped": result.skipped,
        "missed": result.missed,
        "wrong": {kind: verdict.count(kind) for kind in WRONGS},
        "wrongs": [str(wrong) for wrong in verdict.wrongs],
        "untidy": result.untidy,
        "tracebacks": result.tracebacks,
        "folder": None if result.folder is None else str(result.folder),
        "again_with": wish.command(),
    }
