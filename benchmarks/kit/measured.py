"""What a measurement found: figures with their repeats, curves, and words about them."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from typing import Any, Literal

import attrs

Better = Literal["more", "less"]


@attrs.frozen
class Figure:
    """One quantity of one way, measured a few times."""

    quantity: str
    """What figures are compared by: those of one quantity stand in one table."""
    way: str
    unit: str
    values: tuple[float, ...]
    better: Better = "less"

    @property
    def key(self) -> str:
        """How it is found again: the quantity and the way, with a slash."""
        return f"{self.quantity}/{self.way}"

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    @property
    def low(self) -> float:
        return min(self.values)

    @property
    def high(self) -> float:
        return max(self.values)


@attrs.frozen
class Curve:
    """Points of one way, for a plot: ``quantity`` names the plot."""

    quantity: str
    way: str
    x: str
    y: str
    points: tuple[tuple[float, float], ...]


@attrs.define
class Measured:
    """All that one measurement has to say."""

    name: str
    title: str
    figures: list[Figure] = attrs.field(factory=list)
    curves: list[Curve] = attrs.field(factory=list)
    notes: list[str] = attrs.field(factory=list)
    base: dict[str, str] = attrs.field(factory=dict)
    """By quantity, the way that ratios are to, or "" for none; otherwise the first one."""
    seconds: float = 0.0

    def add(
        self,
        quantity: str,
        way: str,
        unit: str,
        values: Iterable[float],
        better: Better = "less",
    ) -> None:
        """Note a figure; one without values was not measured, and is none."""
        if found := tuple(values):
            self.figures.append(Figure(quantity, way, unit, found, better))

    def curve(
        self, quantity: str, way: str, axes: tuple[str, str], points: Iterable[Sequence[float]]
    ) -> None:
        """Note a curve; ``axes`` are the names of x and y, with their units."""
        told = tuple((float(x), float(y)) for x, y in points)
        self.curves.append(Curve(quantity, way, *axes, told))

    def quantities(self) -> dict[str, list[Figure]]:
        """The figures by what they are compared by."""
        found: dict[str, list[Figure]] = {}
        for figure in self.figures:
            found.setdefault(figure.quantity, []).append(figure)
        return found

    def base_of(self, quantity: str) -> Figure | None:
        """The figure that the others of its quantity are set against, if there are others."""
        figures = self.quantities()[quantity]
        wanted = self.base.get(quantity)
        if wanted == "" or len(figures) == 1:
            return None
        return next((figure for figure in figures if figure.way == wanted), figures[0])

    def figure(self, quantity: str, way: str) -> Figure | None:
        """What was measured of this, if it was."""
        return next((f for f in self.figures if (f.quantity, f.way) == (quantity, way)), None)


def plain(measured: Measured) -> dict[str, Any]:
    """As JSON has it; the medians and the spread stand there for who reads it with other tools."""
    data = attrs.asdict(measured)
    for told, figure in zip(data["figures"], measured.figures, strict=True):
        told |= {"median": figure.median, "low": figure.low, "high": figure.high}
    return data


def from_plain(data: dict[str, Any]) -> Measured:
    """What ``plain`` made."""
    figures = [
        Figure(f["quantity"], f["way"], f["unit"], tuple(f["values"]), f["better"])
        for f in data["figures"]
    ]
    curves = [
        Curve(c["quantity"], c["way"], c["x"], c["y"], tuple((x, y) for x, y in c["points"]))
        for c in data["curves"]
    ]
    rest = {name: data[name] for name in ("name", "title", "notes", "base", "seconds")}
    return Measured(figures=figures, curves=curves, **rest)
