"""What the ways are called, in tables, plots and targets alike."""

from __future__ import annotations

from typing import Final

RELAY: Final = "bare relay, frames of 64"
UNIX: Final = "ampacity, UNIX sockets"
TLS: Final = "ampacity, TLS"
DURABLE: Final = "ampacity, every job on disk"
EXECUTOR: Final = "ProcessPoolExecutor.submit"

DASK: Final = "Dask"
RAY: Final = "Ray"
CELERY: Final = "Celery"

AS_DOCUMENTED: Final = "as documented"
TUNED: Final = "tuned"
