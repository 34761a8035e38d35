"""What is known about the end of a child, in a sentence and in fields."""

from __future__ import annotations

import signal
import sys

from ..protocol.outcomes import Evidence
from ..protocol.ports import WorkerInfo
from .launch import exit_status
from .process import Child

_WORDS = {"deadline": "past its deadline"}


def evidence_of(info: WorkerInfo, child: Child, why: str | None, interrupted: int = 0) -> Evidence:
    """Of a child that has ended, or whose job was ``interrupted`` by a signal that it took."""
    code, name = exit_status(child.reason)
    if interrupted:
        code, name = None, signal.Signals(interrupted).name
    sent = child.last_signal
    if sent is not None:
        name, code = (name or sent), None
    return Evidence(
        worker=info.name,
        host=info.host.partition("/")[0],
        pid=child.pid,
        signal=name,
        exit_code=code,
        peak_memory=child.peak_memory or None,
        reason=_reason(code, name, why if sent is not None else None, child.killed_for_memory),
    )


def _reason(code: int | None, name: str | None, why: str | None, memory: bool) -> str:
    if why is not None:
        enough = "it took SIGKILL" if name == "SIGKILL" else f"{name} was enough"
        return f"{_WORDS.get(why, why)}; {enough}"
    if memory:
        return "its process was killed for want of memory"
    if name == "SIGKILL" and sys.platform.startswith("linux"):
        return "its process was killed by SIGKILL: by someone, or by the system for its memory"
    if name is not None:
        return f"its process was ended by {name}"
    return f"its process ended in the middle of the job, with exit code {code}"
