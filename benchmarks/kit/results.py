"""A whole run: what was found, on what, with what, when and how."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import attrs

from .measured import Figure, Measured, from_plain, plain


@attrs.define
class Results:
    machine: dict[str, Any]
    versions: dict[str, str]
    date: str
    command: str
    measured: dict[str, Measured]
    """By the name of the measurement."""

    def figure(self, name: str, quantity: str, way: str) -> Figure | None:
        """What was measured of this, if it was."""
        measured = self.measured.get(name)
        return None if measured is None else measured.figure(quantity, way)


def write(results: Results, file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    told = {
        "command": results.command,
        "date": results.date,
        "machine": results.machine,
        "versions": results.versions,
        "measured": {name: plain(measured) for name, measured in results.measured.items()},
    }
    file.write_text(json.dumps(told, indent=1) + "\n")


def read(file: Path) -> Results:
    told = json.loads(file.read_text())
    measured = {name: from_plain(data) for name, data in told.pop("measured").items()}
    return Results(measured=measured, **told)
