"""Reading the instruments of coordinator and agent, see ``gauged``."""

from __future__ import annotations

import json
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs

ANSWER_SECONDS = 30.0


@attrs.frozen
class Reading:
    """What one process did since its gauge was reset."""

    lag: list[list[float]]
    """``[upper bound in seconds, ticks]``."""
    longest: float
    cpu: float
    """Seconds of CPU, of all its threads."""
    children: float
    """The same, of its child processes."""
    memory: int
    """Bytes that are resident now."""
    peak: int
    """The most of them that was seen since the reset."""


def ask(path: Path, what: str) -> dict[str, Any]:
    with socket.socket(socket.AF_UNIX) as line:
        line.settimeout(ANSWER_SECONDS)
        line.connect(str(path))
        line.sendall(what.encode() + b"\n")
        answer: dict[str, Any] = json.loads(line.makefile("rb").readline())
        return answer


def reset(gauges: Mapping[str, Path]) -> None:
    """Begin anew, in every process."""
    for path in gauges.values():
        ask(path, "reset")


def read(gauges: Mapping[str, Path]) -> dict[str, Reading]:
    return {name: Reading(**ask(path, "read")) for name, path in gauges.items()}


def memory(path: Path) -> int:
    """Resident bytes now; nothing else is disturbed."""
    return int(ask(path, "memory")["memory"])


def pause(gauges: Mapping[str, Path]) -> None:
    """Have the instruments use nothing, until they are reset."""
    for path in gauges.values():
        ask(path, "pause")


def told(gauges: Mapping[str, Path]) -> str:
    """As one word of a command line."""
    return json.dumps({name: str(path) for name, path in gauges.items()})


def understood(word: str) -> dict[str, Path]:
    """What ``told`` says."""
    return {name: Path(path) for name, path in json.loads(word).items()}
