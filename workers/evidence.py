"""What is known about the end of a child, in a sentence and in fields."""

from __future__ import annotations

import signal
import sys

from ..protocol.outcomes import Evidence
from ..protocol.ports import WorkerInfo
from .process import Child


def evidence_of(info: WorkerInfo, child: Child, interrupted: int = 0) -> Evidence:
    """Of a child that has ended, or whose job was ``interrupted`` by a signal that it took."""
    if interrupted:
        code, name = None, signal.Signals(interrupted).name
    else:
        code, name = child.exit_status()
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
        reason=_reason(code, name, sent, child.killed_for_memory),
    )


def _reason(code: int | None, name: str | None, sent: str | None, memory: bool) -> str:
    if sent is not None:
        return f"it was ended by {name}"
    if memory:
        return "its process was killed for want of memory"
    if name == "SIGKILL" and sys.platform.startswith("linux"):
        return "its process was killed by SIGKILL: by someone, or by the system for its memory"
    if name is not None:
        return f"its process was ended by {name}"
    return f"its process ended in the middle of the job, with exit code {code}"
