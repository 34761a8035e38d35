"""Tables, as text and as Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from .measured import Figure, Measured

HEAD = ("", "median", "spread", "ratio")

_BINARY = (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10), ("B", 1))
_SECONDS = (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6))


def amount(value: float, unit: str) -> str:
    """A figure as people read it; ``s`` and ``B`` choose their multiple."""
    if unit == "s":
        name, size = next((u for u in _SECONDS if abs(value) >= u[1]), _SECONDS[-1])
        return f"{_digits(value / size)} {name}"
    if unit in ("B", "B/s"):
        name, size = next((u for u in _BINARY if abs(value) >= u[1]), _BINARY[-1])
        return f"{_digits(value / size)} {name}{unit[1:]}"
    return f"{_digits(value)} {unit}".strip()


def _digits(value: float) -> str:
    """Three digits that count."""
    if value == 0:
        return "0"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def row(figure: Figure, base: Figure | None) -> tuple[str, str, str, str]:
    """Way, median, spread, ratio to the base."""
    spread = ""
    if len(figure.values) > 1:
        spread = f"{amount(figure.low, figure.unit)} – {amount(figure.high, figure.unit)}"
    ratio = f"{figure.median / base.median:.2f}" if base is not None and base.median else ""
    return figure.way, amount(figure.median, figure.unit), spread, ratio


def table_of(measured: Measured, quantity: str) -> list[list[str]]:
    """With its head, and without the columns in which nothing else stands."""
    base = measured.base_of(quantity)
    rows = [row(figure, base) for figure in measured.quantities()[quantity]]
    table = [(quantity, *HEAD[1:]), *rows]
    full = [n for n in range(len(table[0])) if any(line[n] for line in rows)]
    return [[line[n] for n in full] for line in table]


def columns(rows: Iterable[Sequence[str]]) -> str:
    """Rows as text: the first column to the left, the others to the right."""
    table = [list(row) for row in rows]
    widths = [max(len(row[n]) for row in table) for n in range(len(table[0]))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if n == 0 else cell.rjust(width)
            for n, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in table
    )


def as_text(measured: Measured) -> str:
    """All figures of a measurement, and its notes."""
    parts = [f"== {measured.title} ({measured.seconds:.0f} s)"]
    parts += [columns(table_of(measured, quantity)) for quantity in measured.quantities()]
    return "\n\n".join([*parts, *measured.notes]) + "\n"


def markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|---" + "|---:" * (len(head) - 1) + "|"]
    lines += ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join(lines)


def as_markdown(measured: Measured) -> str:
    tables = [table_of(measured, quantity) for quantity in measured.quantities()]
    parts = [markdown(table[0], table[1:]) for table in tables]
    return "\n\n".join([*parts, *measured.notes])
