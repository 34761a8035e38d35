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
        """``cpu``, per cent of all processors; ``memory``, the bytes in use on this machine;
        ``lag``, this agent's own loop in seconds: ``{p50, p99, max, ticks}``."""
        memory = psutil.virtual_memory()
        return {
            "cpu": psutil.cpu_percent(None),
            "memory": memory.total - memory.available,
            "lag": self._lag.summary(),
        }
