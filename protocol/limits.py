"""Bounds on what a peer may send, in bytes, counts and seconds.

``docs/reference/limits.md`` lists them.
"""

from __future__ import annotations

from typing import Final

import attrs

INLINE_LIMIT: Final = 32 * 1024
"""A payload or result above this many bytes travels as a blob."""

CHUNK_SIZE: Final = 256 * 1024
"""Bytes of a blob in one ``PutChunk`` or in one answer to ``GetChunk``."""

CHUNKS_IN_FLIGHT: Final = 4
"""Chunks of one blob that may wait for their answer."""

FRAME_JOBS: Final = 64
"""Jobs or reports in one frame, for a peer that does not say in the greeting that it takes more."""

LARGE_FRAME_JOBS: Final = 256
"""The same for one that does, as all do from 0.3 on: what a frame costs besides its jobs is as much
as ten of them."""

FRAME_BYTES: Final = 512 * 1024
"""Bytes after which a frame is closed; one more record may exceed it by its own size."""

FRAME_VALUES: Final = 8192
"""Values that may have to be sent before one frame of jobs that refer to them."""

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

PACKED_LISTS: Final = 64 * 1024
"""Lists and maps in one frame: one of them takes a byte there, and a hundred in memory."""

LISTED: Final = 1024 * 1024
"""What one packed list or map may hold."""

ASKS_OUTSTANDING: Final = 4096
ASK_BYTES: Final = 64 * 1024 * 1024
"""Questions of one peer that wait for their answer here, by number and by the bytes of their boxes
and of answers that may be long (``ANSWER_BYTES``); beyond either, nothing more is read from that
peer until half of them are answered."""

ANSWER_BYTES: Final = 1024 * 1024
"""What a ``Query``, a ``Submit`` or a ``Finished`` counts for until it is answered, besides its
box; chunks and logs, less."""

JOBS_A_QUESTION: Final = 100_000
"""Jobs that one question may name, as ``Cancel``; a worker, attempts that have begun or end."""

HELD_ATTEMPTS: Final = 64 * 1024
"""Attempts that a worker may name when it joins: as many as it can have slots."""

DETAILS_BYTES: Final = 64 * 1024
"""Bytes of a question's details, or of what a worker says of itself."""

STATE_BYTES: Final = 4 * 1024
"""Bytes of a worker's state; it is kept, and told to whoever asks for the workers."""

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

MAX_SECONDS: Final = 3652 * 86400.0
"""The longest time-out, deadline, back-off and run of a job: ten years."""

NAME_LENGTH: Final = 200
"""Characters in a job's name or key, and in what a worker says of itself."""

TEXT_LENGTH: Final = 8 * 1024
"""Characters in any other text that jobs have in common: a target, a folder, a machine."""

SPEC_ITEMS: Final = 4096
"""Variables, folders, shipped modules or errors in what jobs have in common, of each."""

DATA_DEPTH: Final = 256
"""Lists and maps inside each other, in a result that is plain data."""

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


@attrs.frozen(kw_only=True)
class Caps:
    """What one side takes on a connection, besides what both sides rely on. A coordinator may set
    it for itself: a client sends no box over ``CLIENT_BOX_BYTES``, a worker none over
    ``BOX_BYTES``."""

    box_bytes: int = BOX_BYTES
    box_keys: int = BOX_KEYS
    asks: int = ASKS_OUTSTANDING
    ask_bytes: int = ASK_BYTES
    greeting_bytes: int = GREETING_BYTES
    name_length: int = NAME_LENGTH


CLIENT_BOX_BYTES: Final = 2 * 1024 * 1024
"""Bytes that a client's box may take in any case: a full frame with the largest spec."""
