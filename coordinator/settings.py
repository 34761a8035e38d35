"""What can be set of a coordinator. Times in seconds, sizes in bytes."""

from __future__ import annotations

import attrs

_DAY = 86400.0
_GIB = 1 << 30


@attrs.frozen(kw_only=True)
class Settings:
    """The bounds and patience of one coordinator."""

    lease: float = 5.0
    """How long a worker whose connection is gone may take to come back with its attempts."""
    recall: float = 1.0
    """How long a worker that came back may take to report attempts that it did not list."""
    session_grace: float = 10.0
    """How long a client may be away before its ``orphans="cancel"`` jobs are cancelled."""
    session_keep: float = _DAY
    """How long a client may be away before its session is forgotten."""
    max_losses: int = 3
    """The loss that ends a job as crashed."""
    retain_jobs: int = 100_000
    """Ended jobs that are kept."""
    retain_bytes: int = _GIB
    """Bytes of payloads, outcomes and logs of ended jobs that are kept."""
    retain_age: float = 7 * _DAY
    """How long an ended job is kept, by the wall clock."""
    queue_jobs: int = 10_000_000
    queue_bytes: int = 4 * _GIB
    """Unfinished jobs, and the bytes of their payloads, before submissions are refused."""
    blob_keep: float = 600.0
    """How long a blob is kept that nothing refers to."""
