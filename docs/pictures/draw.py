"""Draws the pictures of the pages as SVG: ``python -m ampacity.docs.pictures.draw``.

Each has a light ground of its own, so that it can be read on a light page and on a dark one. The
states are drawn from the coordinator's own table; a test fails while a picture differs from it.
"""

from __future__ import annotations

import sys
from pathlib import Path
from xml.sax.saxutils import escape

from ...coordinator import transitions

FOLDER = Path(__file__).parent

INK, SOFT, LINE, GROUND, FILL = "#1d2733", "#5a6775", "#2f6fab", "#fbfcfd", "#e6eef6"
ENDS = {
    "succeeded": "#2c7a4b",
    "failed": "#b0402f",
    "timed out": "#a8651b",
    "cancelled": "#5a6775",
    "crashed": "#7d3c98",
}


class Sheet:
    """An SVG that grows."""

    def __init__(self, width: int, height: int, title: str) -> None:
        view = f'viewBox="0 0 {width} {height}" width="{width}" height="{height}"'
        font = 'font-family="system-ui, sans-serif" font-size="14"'
        tip = 'viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8" orient="auto"'
        self._parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" {view} {font} role="img">',
            f"<title>{escape(title)}</title>",
            f'<defs><marker id="tip" {tip}><path d="M0 0L8 4L0 8z" fill="{LINE}"/></marker></defs>',
            f'<rect width="{width}" height="{height}" rx="10" fill="{GROUND}"/>',
        ]

    def text(
        self,
        x: float,
        y: float,
        words: str,
        colour: str = INK,
        anchor: str = "middle",
        size: int = 14,
    ) -> None:
        self._parts.append(
            f'<text x="{x:g}" y="{y:g}" fill="{colour}" text-anchor="{anchor}" '
            f'font-size="{size}">{escape(words)}</text>'
        )

    def box(self, x: float, y: float, width: float, height: float, colour: str = FILL) -> None:
        self._parts.append(
            f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="7" '
            f'fill="{colour}" stroke="{LINE}"/>'
        )

    def line(self, path: str, colour: str = LINE, tip: bool = True, dashes: str = "") -> None:
        end = ' marker-end="url(#tip)"' if tip else ""
        dashed = f' stroke-dasharray="{dashes}"' if dashes else ""
        self._parts.append(f'<path d="{path}" fill="none" stroke="{colour}"{dashed}{end}/>')

    def dot(self, x: float, y: float, colour: str) -> None:
        self._parts.append(f'<circle cx="{x:g}" cy="{y:g}" r="6" fill="{colour}"/>')

    def __str__(self) -> str:
        return "\n".join([*self._parts, "</svg>", ""])


# -- the states of a job --------------------------------------------------------------------------

COLUMNS = {"queued": 210, "sent": 380, "running": 550, "delayed": 720}
ROW = 150


def states() -> str:
    """What may follow what, from ``transitions.TABLE``."""
    sheet = Sheet(800, 450, "The states of a job")
    for name, x in COLUMNS.items():
        sheet.box(x - 48, ROW - 19, 96, 38)
        sheet.text(x, ROW + 5, name)
    sheet.line(f"M60 {ROW}H160")
    sheet.text(105, ROW - 8, "submit", SOFT, size=12)
    for move, row in enumerate(transitions.TABLE):
        for before, after in enumerate(row):
            if after != transitions.ILLEGAL and after < transitions.ENDED:
                _moved(sheet, transitions.MOVE_NAMES[move], _x(before), _x(after))
    sheet.text(20, 245, "from each of these states", SOFT, anchor="start", size=12)
    sheet.text(20, 261, "a job may end as", SOFT, anchor="start", size=12)
    for place, ending in enumerate(transitions.STATE_NAMES[transitions.ENDED :]):
        _ending(sheet, ending, 290 + 34 * place)
    return str(sheet)


def _x(state: int) -> int:
    return COLUMNS[transitions.STATE_NAMES[state]]


def _moved(sheet: Sheet, move: str, start: int, end: int) -> None:
    """An arrow on: straight to the next, below to one further; back: above."""
    if end - start == 170:
        sheet.line(f"M{start + 48} {ROW}H{end - 50}")
        sheet.text((start + end) / 2, ROW - 8, move, SOFT, size=12)
        return
    up = -1 if end < start else 1
    far = abs(end - start) / 170
    edge, bend = ROW + up * 19, ROW + up * (19 + 34 * far)
    away = 14 * far
    sheet.line(f"M{start} {edge}C{start} {bend} {end + away} {bend} {end + away} {edge + up * 2}")
    highest = edge + 0.75 * (bend - edge)
    sheet.text((start + end + away) / 2, highest + (15 if up > 0 else -6), move, SOFT, size=12)


def _ending(sheet: Sheet, ending: str, y: int) -> None:
    number = transitions.STATES[ending]
    froms = [b for row in transitions.TABLE for b, after in enumerate(row) if after == number]
    colour = ENDS[ending]
    sheet.text(20, y + 5, ending, colour, anchor="start")
    sheet.line(f"M110 {y}H780", "#d5dde5", tip=False)
    for before in froms:
        sheet.dot(_x(before), y, colour)


# -- the way of a job -----------------------------------------------------------------------------

LANES = {"program": 70, "client": 190, "coordinator": 350, "store": 490, "agent": 630, "child": 760}
PROCESSES = (
    ("your process", 20, 240),
    ("the coordinator", 290, 260),
    ("a worker's machine", 575, 245),
)
STEPS = (
    ("program", "client", "submit"),
    ("client", "coordinator", "Submit"),
    ("coordinator", "store", "commit"),
    ("coordinator", "client", "Accepted"),
    ("coordinator", "agent", "Assign, by credit"),
    ("agent", "child", "a batch"),
    ("child", "agent", "output, results"),
    ("agent", "coordinator", "Finished"),
    ("coordinator", "store", "commit"),
    ("coordinator", "agent", "Acknowledged"),
    ("coordinator", "client", "Delivered"),
    ("client", "program", "the Deferred fires"),
)


def way() -> str:
    """One job, from the call to the Deferred, step by step."""
    bottom = 110 + 36 * len(STEPS)
    sheet = Sheet(840, bottom + 20, "The way of one job")
    for words, x, width in PROCESSES:
        sheet.box(x, 16, width, bottom - 12, "#f3f7fb")
        sheet.text(x + width / 2, 36, words, SOFT, size=12)
    for name, x in LANES.items():
        sheet.box(x - 47, 48, 94, 30)
        sheet.text(x, 68, name)
        sheet.line(f"M{x} 78V{bottom - 8}", "#b9c6d3", tip=False, dashes="3 4")
    for number, (start, end, words) in enumerate(STEPS):
        y = 108 + 36 * number
        ahead = 1 if LANES[end] > LANES[start] else -1
        sheet.line(f"M{LANES[start]} {y}H{LANES[end] - 2 * ahead}")
        sheet.text((LANES[start] + LANES[end]) / 2, y - 6, f"{number + 1}. {words}", size=12)
    return str(sheet)


PICTURES = {"states.svg": states, "way.svg": way}


def write() -> None:
    """Draw all of them anew."""
    for name, draw in PICTURES.items():
        (FOLDER / name).write_text(draw())
        print(FOLDER / name, file=sys.stderr)


if __name__ == "__main__":
    write()
