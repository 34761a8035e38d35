"""ampacity: a distributed worker pool for Twisted.

CPU-heavy jobs run in processes on this machine and on others; their results come back as
Deferreds; the loop never blocks. Importing this package installs no reactor.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.3.0"

if TYPE_CHECKING:
    from .client.group import Group
    from .client.info import JobInfo
    from .client.job import Job
    from .client.pool import Pool
    from .loopwatch import LoopWatch
    from .protocol.errors import (
        AmpacityError,
        CommandFailed,
        CoordinatorLost,
        ForeignResult,
        JobCancelled,
        JobCrashed,
        JobError,
        JobFailed,
        JobsFailed,
        JobTimedOut,
        NoCoordinator,
        NoSuchGroup,
        NoSuchJob,
        NotPackable,
        NotPlainData,
        PoolClosed,
        QueueFull,
        Refused,
        StorageFull,
        WrongThread,
    )
    from .protocol.steady import make_steady

_HOMES = {
    "Pool": "client.pool",
    "Job": "client.job",
    "JobInfo": "client.info",
    "Group": "client.group",
    "LoopWatch": "loopwatch",
    "make_steady": "protocol.steady",
}

__all__ = [
    "AmpacityError",
    "CommandFailed",
    "CoordinatorLost",
    "ForeignResult",
    "Group",
    "Job",
    "JobCancelled",
    "JobCrashed",
    "JobError",
    "JobFailed",
    "JobInfo",
    "JobTimedOut",
    "JobsFailed",
    "LoopWatch",
    "NoCoordinator",
    "NoSuchGroup",
    "NoSuchJob",
    "NotPackable",
    "NotPlainData",
    "Pool",
    "PoolClosed",
    "QueueFull",
    "Refused",
    "StorageFull",
    "WrongThread",
    "make_steady",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = import_module("." + _HOMES.get(name, "protocol.errors"), __name__)
    value = globals()[name] = getattr(home, name)
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
