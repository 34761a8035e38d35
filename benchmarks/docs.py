"""Puts the figures of the last runs into ``docs/explanation/performance.md``, with plots beside it.

``python -m ampacity.benchmarks.docs`` reads ``build/bench/bench.json`` and ``peers.json`` (those of
the folder ``performance`` beside the page where they are missing), keeps them in that folder, draws
the plots there, and writes the tables of the page between their marks::

    <!-- bench: targets -->
    ...
    <!-- bench: end -->

A mark names ``targets``, ``machine``, ``lag``, ``summary``, a measurement, or ``plot NAME: what it
shows``. The README has a summary between such marks, too.
"""

from __future__ import annotations

import argparse
import re
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from .kit import tables
from .kit.plots import curves, draw
from .kit.results import Results, read
from .kit.spread import bound
from .kit.tables import amount
from .kit.targets import SINGLE, judged, targets_markdown

RUNS = Path("build/bench")
PAGE = Path("docs/explanation/performance.md")
README = Path("README.md")
FILES = ("bench.json", "peers.json")
MARK = re.compile(r"(<!-- bench: (?!end)([^>]+?) -->\n).*?(<!-- bench: end -->)", re.S)
SUMMARY = ("no-op jobs", "in bulk", "ratio", "one at a time, p50", "ratio")
LAGS = ("loop, and load", "p50", "p99", "longest", "ticks")
NOTHING = "*Not measured yet.*"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--runs", type=Path, default=RUNS, help="the folder of the last runs")
    parser.add_argument("--page", type=Path, default=PAGE)
    parser.add_argument("--readme", type=Path, default=README, help="of which the summary is made")
    given = parser.parse_args()
    folder = given.page.with_suffix("")
    runs = taken_over(given.runs, folder)
    if not runs:
        sys.exit(f"there is no run in {given.runs}: make bench first")
    plots = draw(runs, folder)
    given.page.write_text(filled(given.page.read_text(), runs, folder.name, plots))
    given.readme.write_text(filled(given.readme.read_text(), runs, "", ()))
    print(f"{given.page}: {', '.join(run.command for run in runs)}; {len(plots)} plots")


def taken_over(source: Path, folder: Path) -> list[Results]:
    """The runs, kept beside the page."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in FILES:
        if (source / name).exists():
            shutil.copy(source / name, folder / name)
    return [read(folder / name) for name in FILES if (folder / name).exists()]


def filled(page: str, runs: Sequence[Results], folder: str, plots: Sequence[str]) -> str:
    """The page with what stands between its marks made anew."""

    def make(mark: re.Match[str]) -> str:
        return f"{mark[1]}\n{_part(mark[2], runs, folder, plots)}\n\n{mark[3]}"

    return MARK.sub(make, page)


def _part(asked: str, runs: Sequence[Results], folder: str, plots: Sequence[str]) -> str:
    if not runs:
        return NOTHING
    if asked == "targets":
        return targets_markdown(judged(runs))
    if asked == "machine":
        return "\n\n".join(_about(run) for run in runs)
    if asked == "summary":
        return summary(runs)
    if asked == "lag":
        return lags(runs)
    if asked.startswith("plot "):
        name, _, what = asked.removeprefix("plot ").partition(": ")
        return f"![{what}]({folder}/{name}.svg)" if name in plots else NOTHING
    measured = next((run.measured[asked] for run in runs if asked in run.measured), None)
    return NOTHING if measured is None else tables.as_markdown(measured)


def lags(runs: Sequence[Results]) -> str:
    """How late the loops were, under every load that was measured; to the next eighth root of 2."""
    rows = []
    for curve in curves(runs, "lag"):
        found = (bound(curve.points, part) for part in (0.5, 0.99, 1.0))
        ticks = f"{sum(count for _, count in curve.points):,.0f}"
        rows.append((curve.way, *(amount(seconds, "s") for seconds in found), ticks))
    return tables.markdown(LAGS, sorted(rows)) if rows else NOTHING


def summary(runs: Sequence[Results]) -> str:
    """The ways of a no-op job in one table, in bulk and one at a time, with ratios to the relay."""
    measured = next((run.measured["bulk"] for run in runs if "bulk" in run.measured), None)
    if measured is None:
        return NOTHING
    both = [measured.quantities()[quantity] for quantity in ("bulk", SINGLE)]
    bases = [measured.base_of(figures[0].quantity) for figures in both]
    rows = [
        (many.way, *tables.row(many, bases[0])[1::2], *tables.row(single, bases[1])[1::2])
        for many, single in zip(*both, strict=True)
    ]
    return tables.markdown(SUMMARY, rows)


def _about(run: Results) -> str:
    machine, versions = run.machine, run.versions
    with_ = ", ".join(f"{name} {version}" for name, version in versions.items())
    return (
        f"`{run.command}` on {run.date}: {machine['cpu']}, {machine['processors']} processors, "
        f"{amount(machine['memory'], 'B')} of memory, {machine['kernel']}, {machine['python']}, "
        f"{with_}."
    )


if __name__ == "__main__":
    main()
