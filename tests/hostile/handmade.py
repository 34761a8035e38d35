"""Jobs, chunks and reports as the protocol's page describes them, packed by hand."""

from __future__ import annotations

import hashlib
from typing import Any

import msgpack

from .peers import Box, Peer, Refusal, joined, other_python

SUCCEEDED, FAILED, TIMED_OUT, CANCELLED, CRASHED, LOST = 1, 2, 3, 4, 5, 6


def spec(**fields: Any) -> bytes:
    """What a job is. Without a say of its own it is for a worker that is written by hand, and no
    other one is given it."""
    given = {
        "kind": "value",
        "target": "by hand",
        "function": None,
        "ships": [],
        "arguments": "pickle",
        "name": None,
        "timeout": None,
        "deadline": None,
        "host": "nowhere",
        "folder": None,
        "cwd": None,
        "env": [],
        "orphans": "cancel",
        "python": other_python(),
        "attach": False,
        "show": "short",
        "path": [],
        "retries": 0,
        "retry_on": None,
        "backoff": 1.0,
        "max_losses": None,
        **fields,
    }
    return bytes(msgpack.packb(list(given.values())))


def frame(*submissions: tuple[bytes, Any], keys: list[Any] | None = None) -> bytes:
    """Pairs of a spec and a payload."""
    specs = list(dict.fromkeys(one for one, _ in submissions))
    keys = keys or [None] * len(submissions)
    records = [
        [specs.index(one), payload, key, None]
        for (one, payload), key in zip(submissions, keys, strict=True)
    ]
    return bytes(msgpack.packb([specs, records]))


def submit(peer: Peer, *submissions: tuple[bytes, Any], **more: Any) -> list[int]:
    """The ids; nothing may be missing."""
    jobs = frame(*submissions, keys=more.pop("keys", None))
    answer = peer.ask("Submit", sequence=peer.sequence, jobs=jobs, **more)
    peer.sequence += 1
    missing = msgpack.unpackb(joined(answer, "missing"))
    assert not missing, missing
    runs = msgpack.unpackb(joined(answer, "ids"))
    return [first + n for first, count in runs for n in range(count)]


def digest_of(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def put(peer: Peer, data: bytes) -> list[Any]:
    """Send a value, in chunks; the reference to it."""
    digest = digest_of(data)
    for offset in range(0, max(len(data), 1), 262144):
        chunk = data[offset : offset + 262144]
        peer.ask("PutChunk", digest=digest, size=len(data), offset=offset, data=chunk)
    return [digest, len(data)]


def assignments(box: Box) -> list[list[Any]]:
    """``[job, term, number, place, payload]`` each."""
    return list(msgpack.unpackb(joined(box, "jobs"))[1])


def assigned(worker: Peer, job: int) -> list[Any]:
    """The attempt of this job, ``[job, term, number]``, when the worker is given it."""
    while True:
        box = worker.next("Assign")
        worker.acknowledge(box)
        for one in assignments(box):
            if one[0] == job:
                return one[:3]


def report(*attempt: Any, **more: Any) -> list[Any]:
    """How an attempt ended: job, term, number, and the ending unless it is the first.

    ``body`` is a packed outcome.
    """
    job, term, number, ending = (*attempt, SUCCEEDED)[:4]
    given = {
        "began": 1.7e9,
        "seconds": 0.01,
        "body": outcome(),
        "blobs": [],
        "log": b"",
        "again": True,
        **more,
    }
    return [job, term, number, ending, *given.values()]


def outcome(value: Any = b"", shown: Any = None, error: Any = None, tail: bytes = b"") -> bytes:
    return bytes(msgpack.packb([value, shown, error, None, None, tail]))


def finish(worker: Peer, *reports: list[Any]) -> None:
    worker.ask("Finished", reports=msgpack.packb(list(reports)))


def delivered(client: Peer) -> list[list[Any]]:
    """The next frame of outcomes, acknowledged: ``[job, ending, body]`` each."""
    box = client.next("Delivered")
    client.acknowledge(box)
    return list(msgpack.unpackb(joined(box, "outcomes")))


def refused(ask: Any, *codes: str) -> str:
    """The text of the refusal that this must be, with one of these codes."""
    try:
        answer = ask()
    except Refusal as refusal:
        assert refusal.code in codes, refusal
        return refusal.text
    raise AssertionError(f"it was answered: {answer!r:.200}")
