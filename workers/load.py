"""How busy this machine and this agent are, as ``workers`` and ``top`` show it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import psutil

if TYPE_CHECKING:
    from ..loopwatch import LagMeter


class Load:
    """Measured between one look and the next."""

    def __init__(self, lag: LagMeter) -> None:
        self._lag = lag
        psutil.cpu_percent(None)  # the first look starts the measurement

    def now(self) -> dict[str, Any]:
        """``cpu``, the busy part of all processors, 0 to 1; ``memory``, the used part, 0 to 1;
        ``lag``, this agent's own loop."""
        return {
            "cpu": psutil.cpu_percent(None) / 100,
            "memory": psutil.virtual_memory().percent / 100,
            "lag": self._lag.summary(),
        }
