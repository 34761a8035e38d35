"""Bounds on what a peer may send, in bytes, counts and seconds. ``docs/protocol.md`` lists them."""

from __future__ import annotations

from typing import Final

INLINE_LIMIT: Final = 32 * 1024
"""A payload or result above this many bytes travels as a blob."""

CHUNK_SIZE: Final = 256 * 1024
"""Bytes of a blob in one ``PutChunk`` or in one answer to ``GetChunk``."""

CHUNKS_IN_FLIGHT: Final = 4
"""Chunks of one blob that may wait for their answer."""

FRAME_JOBS: Final = 64
"""Jobs or reports in one frame."""

FRAME_BYTES: Final = 512 * 1024
"""Bytes after which a frame is closed; one more record may exceed it by its own size."""

FRAMES_IN_FLIGHT: Final = 16
"""Frames that a peer may send before the first of them is answered."""

BODY_BYTES: Final = 6 * 1024 * 1024
"""Bytes of what a report says of one job, its text as people see it and its log included."""

SPEC_BYTES: Final = 1024 * 1024
"""Bytes of what the jobs of one submission have in common, environment included."""

BOX_BYTES: Final = 8 * 1024 * 1024
"""Bytes in one AMP box after authentication: a full frame and the largest body."""

BOX_KEYS: Final = 256
"""Keys in one AMP box."""

ASKS_OUTSTANDING: Final = 4096
ASK_BYTES: Final = 64 * 1024 * 1024
"""Questions of one peer that wait for their answer here, by number and by bytes in their boxes;
beyond either, nothing more is read from that peer until half of them are answered."""

GREETING_BYTES: Final = 8 * 1024
"""Bytes in one AMP box, and in all of them, before authentication."""

GREETING_SECONDS: Final = 5.0
"""Time from the connection to the proof of the token."""

PING_INTERVAL: Final = 5.0
PING_DEADLINE: Final = 15.0
"""Seconds without a word from the peer, after which the connection is aborted."""

BLOCKED_DEADLINE: Final = 60.0
"""Seconds in which a peer may take nothing of what is sent to it, after which it is aborted."""

MAX_NUMBER: Final = 1 << 62
"""The highest id, place, sequence number or number of a group: what a store can keep."""

NAME_LENGTH: Final = 200
"""Characters in a job's name or key."""

SHOWN_SHORT: Final = 1024
SHOWN_FULL: Final = 1024 * 1024
"""Characters of a result as text: for a Python client, and for the command line."""

LOG_HEAD: Final = 64 * 1024
LOG_TAIL: Final = 64 * 1024
"""Bytes kept from the beginning and from the end of each of a job's two output streams."""

TRACEBACK_LIMIT: Final = 64 * 1024
"""Characters kept of a remote traceback."""

OUTPUT_CHUNK: Final = 64 * 1024
OUTPUT_IN_FLIGHT: Final = 8
"""Bytes in one ``Output`` box, and such boxes of one job that may wait for their answer."""
