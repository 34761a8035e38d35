"""Plots of the curves and the rates, as SVG."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from .measured import Curve, Measured
from .results import Results
from .spread import beyond

SIZE = (7.5, 4.2)
MOST_BARS = 16
STYLE = {
    "font.size": 9,
    "axes.grid": True,
    "grid.alpha": 0.3,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "svg.hashsalt": "ampacity",  # the same figures give the same file
    "svg.fonttype": "none",
}


def draw(runs: Sequence[Results], folder: Path) -> list[str]:
    """Every plot for which a run has something; the names of the files, without ``.svg``."""
    import matplotlib as mpl

    mpl.use("svg")
    folder.mkdir(parents=True, exist_ok=True)
    drawn = []
    with mpl.rc_context(STYLE):
        for name, plot in PLOTS.items():
            if _draw(name, plot, runs, folder):
                drawn.append(name)
    return drawn


def _draw(name: str, plot: Callable[..., bool], runs: Sequence[Results], folder: Path) -> bool:
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=SIZE, layout="constrained")
    try:
        if found := plot(axes, runs):
            figure.savefig(folder / f"{name}.svg", metadata={"Date": None, "Creator": None})
        return found
    finally:
        pyplot.close(figure)


def curves(runs: Iterable[Results], quantity: str) -> list[Curve]:
    """Those of all measurements; of two with one name, the first."""
    found: dict[str, Curve] = {}
    for run in runs:
        for measured in run.measured.values():
            for curve in measured.curves:
                if curve.quantity == quantity:
                    found.setdefault(curve.way, curve)
    return list(found.values())


def _lines(axes: Any, found: Sequence[Curve], *, x: str = "log", y: str = "linear") -> bool:
    for curve in found:
        ours = curve.way.startswith("ampacity")
        axes.plot(
            *zip(*curve.points, strict=True),
            marker="." if len(curve.points) < 30 else "",
            label=curve.way,
            linewidth=2 if ours else 1,
        )
    if found:
        axes.set(xscale=x, yscale=y, xlabel=found[0].x, ylabel=found[0].y)
        axes.legend(fontsize=7)
    return bool(found)


def _bars(name: str, quantity: str) -> Callable[[Any, Sequence[Results]], bool]:
    def plot(axes: Any, runs: Sequence[Results]) -> bool:
        measured = next((run.measured[name] for run in runs if name in run.measured), None)
        return measured is not None and _draw_bars(axes, measured, quantity)

    return plot


def _draw_bars(axes: Any, measured: Measured, quantity: str) -> bool:
    figures = measured.quantities().get(quantity, [])[:MOST_BARS][::-1]
    if not figures:
        return False
    medians = [figure.median for figure in figures]
    ways = [figure.way for figure in figures]
    spread = [[f.median - f.low for f in figures], [f.high - f.median for f in figures]]
    colours = ["C0" if way.startswith("ampacity") else "C7" for way in ways]
    axes.barh(ways, medians, xerr=spread, color=colours, height=0.7)
    axes.set(xscale="log", xlabel=f"{quantity}, {figures[0].unit}")
    axes.set_xlim(left=10 ** math.floor(math.log10(min(medians))))
    axes.grid(axis="y", visible=False)
    return True


def _efficiency(axes: Any, runs: Sequence[Results]) -> bool:
    axes.axhline(0.5, color="black", linewidth=0.5)
    axes.set_ylim(0, 1.05)
    return _lines(axes, curves(runs, "efficiency"))


def _latency(axes: Any, runs: Sequence[Results]) -> bool:
    """Against the part that is slower, so that each 9 takes as much room."""
    found = [
        Curve(
            "latency",
            curve.way,
            "part of all jobs that took longer",
            "latency, s",
            tuple((max(1 - part, 1e-5), seconds) for part, seconds in curve.points),
        )
        for curve in curves(runs, "latency")
    ]
    axes.invert_xaxis()
    return _lines(axes, found, y="log")


def _lag(process: str) -> Callable[[Any, Sequence[Results]], bool]:
    def plot(axes: Any, runs: Sequence[Results]) -> bool:
        found = [
            Curve(
                "lag",
                curve.way.removeprefix(f"{process}, "),
                "lag, s",
                "part of all ticks that came later",
                tuple(beyond(curve.points)),
            )
            for curve in curves(runs, "lag")
            if curve.way.startswith(process)
        ]
        axes.axvline(0.01, color="black", linewidth=0.5)
        axes.axvline(0.05, color="black", linewidth=0.5)
        return _lines(axes, found, y="log")

    return plot


def _of(quantity: str, **scales: str) -> Callable[[Any, Sequence[Results]], bool]:
    return lambda axes, runs: _lines(axes, curves(runs, quantity), **scales)


PLOTS: dict[str, Callable[[Any, Sequence[Results]], bool]] = {
    "bulk": _bars("bulk", "bulk"),
    "peers-bulk": _bars("peers_bulk", "bulk"),
    "peers-one": _bars("peers_bulk", "one at a time, p50"),
    "efficiency": _efficiency,
    "latency": _latency,
    "lag-coordinator": _lag("coordinator"),
    "lag-agent": _lag("agent"),
    "workers": _of("workers"),
    "memory": _of("memory", x="linear"),
    "transfer": _of("transfer", y="log"),
}
