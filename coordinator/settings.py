"""What can be set of a coordinator. Times in seconds, sizes in bytes."""

from __future__ import annotations

from typing import NamedTuple

import attrs

from ..protocol.ids import LOCAL_CLIENT, ClientId
from ..protocol.limits import (
    ASK_BYTES,
    ASKS_OUTSTANDING,
    BOX_BYTES,
    BOX_KEYS,
    CHUNK_SIZE,
    CLIENT_BOX_BYTES,
    GREETING_BYTES,
    GREETING_SECONDS,
    NAME_LENGTH,
    Caps,
)

_DAY = 86400.0
_GIB = 1 << 30


class Share(NamedTuple):
    """What one client may have of the whole."""

    queue_jobs: int
    queue_bytes: int
    retain_jobs: int
    retain_bytes: int


_LEAST = {
    "box_bytes": CLIENT_BOX_BYTES,
    "box_keys": 160,
    "asks_outstanding": 64,
    "ask_bytes": 2 * BOX_BYTES,
    "greeting_bytes": 2048,
    "greeting_seconds": 1.0,
    "waiting_connections": 2,
    "client_connections": 1,
    "client_sessions": 1,
    "client_uploads": CHUNK_SIZE,
    "value_bytes": CHUNK_SIZE,
    "name_length": 1,
}
"""Below these, peers that keep to the protocol would be cut off."""


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
    waiting_connections: int = 64
    """Connections that may be in their greeting at once, at the ports together and at the socket;
    others wait."""
    blob_keep: float = 600.0
    """How long a blob is kept that nothing refers to."""
    client_jobs: int | None = None
    client_bytes: int | None = None
    client_retain_jobs: int | None = None
    client_retain_bytes: int | None = None
    """The same four bounds for one client: unfinished jobs and their bytes, and what nobody has
    fetched of its ended ones. None: half of the whole; all of it for this machine's own user."""
    client_connections: int = 256
    """Connections with one credential at once; 1,024 for this machine's own user."""
    client_sessions: int = 1000
    """Sessions of one client; beyond, the one that has been away longest is forgotten."""
    client_uploads: int = 16 * _GIB
    """Bytes of values that one client has sent, or begun to, and that no job refers to."""
    value_bytes: int = 64 * _GIB
    """Bytes of one value."""
    box_bytes: int = BOX_BYTES
    box_keys: int = BOX_KEYS
    """What one box of a client may have. Boxes of workers may always have ``BOX_BYTES``."""
    asks_outstanding: int = ASKS_OUTSTANDING
    ask_bytes: int = ASK_BYTES
    """Questions of one connection that wait for their answer; beyond, it is read from later."""
    greeting_bytes: int = GREETING_BYTES
    greeting_seconds: float = GREETING_SECONDS
    """What may come before the token is proven, and how long that may take."""
    name_length: int = NAME_LENGTH
    """Characters in a job's name or key; 200 at most."""

    def __attrs_post_init__(self) -> None:
        for name, least in _LEAST.items():
            if getattr(self, name) < least:
                raise ValueError(f"{name} is {least} or more")
        if self.name_length > NAME_LENGTH:
            raise ValueError(f"name_length is {NAME_LENGTH} at most")

    def share(self, client: ClientId) -> Share:
        """What this client may have."""
        part = 1 if client == LOCAL_CLIENT else 2
        return Share(
            _or_part(self.client_jobs, self.queue_jobs, part),
            _or_part(self.client_bytes, self.queue_bytes, part),
            _or_part(self.client_retain_jobs, self.retain_jobs, part),
            _or_part(self.client_retain_bytes, self.retain_bytes, part),
        )

    def connections(self, client: ClientId) -> int:
        """How many of one credential's there may be."""
        most = self.client_connections
        return max(1024, most) if client == LOCAL_CLIENT else most

    def caps(self, worker: bool) -> Caps:
        """What is taken on a connection."""
        return Caps(
            box_bytes=max(BOX_BYTES, self.box_bytes) if worker else self.box_bytes,
            box_keys=self.box_keys,
            asks=self.asks_outstanding,
            ask_bytes=self.ask_bytes,
            greeting_bytes=self.greeting_bytes,
            name_length=self.name_length,
        )


def _or_part(given: int | None, whole: int, part: int) -> int:
    return whole // part if given is None else min(given, whole)
