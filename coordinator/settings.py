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
    session_keep: float = 30 * _DAY
    """How long a client may be away before its session is forgotten."""
    recovery: float = 30.0
    """How long workers and clients that an earlier coordinator knew may take to come back."""
    max_losses: int = 2
    """Losses that a job survives; the next one ends it as crashed."""
    max_backoff: float = 300.0
    """The longest time between two attempts of a job that is retried."""
    retain_jobs: int = 1_000_000
    """Ended jobs that are kept. Beyond it, the oldest of those that somebody has the outcome of
    are forgotten; if all the others alone are too many, submissions are refused."""
    retain_bytes: int = 4 * _GIB
    """Bytes of payloads, outcomes and logs of ended jobs that are kept; as above."""
    retain_age: float = 7 * _DAY
    """How long an ended job is kept, by the wall clock, whose outcome somebody has."""
    retain_untaken: float = 30 * _DAY
    """How long an ended job is kept that nobody has fetched."""
    queue_jobs: int = 10_000_000
    queue_bytes: int = 4 * _GIB
    """Unfinished jobs, and the bytes of their payloads, before submissions are refused."""
    blob_keep: float = 600.0
    """How long a blob is kept that nothing refers to."""
