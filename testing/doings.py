"""What an execution of a job does in a test: it runs, or it ends as the test has it."""

from __future__ import annotations

import signal as signals
from typing import Any, TypeAlias

import attrs

from ..protocol.outcomes import Evidence


@attrs.frozen
class Runs:
    """The function is called, in this process, at the end of so many virtual seconds."""

    seconds: float = 0.0
    resists: float = attrs.field(default=0.0, kw_only=True)
    """Seconds for which it goes on after SIGINT, when it is cancelled or timed out."""


@attrs.frozen
class Returns:
    """It gives this value, and the function is not called."""

    value: Any = None
    seconds: float = attrs.field(default=0.0, kw_only=True)
    resists: float = attrs.field(default=0.0, kw_only=True)


@attrs.frozen
class Raises:
    """It raises this exception, and the function is not called."""

    error: BaseException
    seconds: float = attrs.field(default=0.0, kw_only=True)
    resists: float = attrs.field(default=0.0, kw_only=True)


@attrs.frozen
class Crashes:
    """Its process dies: by a signal, or with an exit code in the middle of the job.

    That is one attempt lost, and the job runs again, until it has lost more than its
    ``max_losses`` (2, unless an option says otherwise): then it ends as crashed.
    """

    signal: str | None = "SIGKILL"
    exit_code: int | None = None
    output: str = attrs.field(default="", kw_only=True)
    """The last that it printed."""
    peak_memory: int | None = attrs.field(default=None, kw_only=True)
    """Bytes."""
    seconds: float = attrs.field(default=0.0, kw_only=True)
    resists: float = attrs.field(default=0.0, kw_only=True)

    def __attrs_post_init__(self) -> None:
        if self.signal is not None and self.signal not in signals.Signals.__members__:
            raise ValueError(f"there is no signal {self.signal!r}; they are named as SIGSEGV")

    def evidence(self, worker: str, host: str) -> Evidence:
        """As a worker tells of it."""
        name, code = self.signal, self.exit_code
        if code is not None:
            name = None
            reason = f"its process ended in the middle of the job, with exit code {code}"
        elif name == "SIGKILL":
            reason = (
                "its process was killed by SIGKILL: by someone, or by the system for its memory"
            )
        else:
            reason = f"its process was ended by {name}"
        return Evidence(worker, host, None, name, code, self.peak_memory, reason)


@attrs.frozen
class Hangs:
    """It never ends by itself: a time-out, a deadline, a cancel, or the end of its worker."""

    resists: float = attrs.field(default=0.0, kw_only=True)


Doing: TypeAlias = Runs | Returns | Raises | Crashes | Hangs


def seconds_of(doing: Doing) -> float | None:
    """How long it takes; None: for ever."""
    return None if isinstance(doing, Hangs) else doing.seconds
