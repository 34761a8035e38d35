"""Who was let in and breaks the protocol: refused, or cut off, and nobody else notices."""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Callable
from typing import Any

import msgpack
import pytest
from ampacity.protocol.limits import LARGE_FRAME_JOBS

from . import handmade, peers
from .ground import Ground
from .handmade import digest_of, frame, put, refused, spec
from .peers import Peer, Refusal, serialize

Make = Callable[[Ground], Peer]
ROLES: dict[str, Make] = {"client": peers.client, "worker": peers.worker, "local": peers.local}
as_role = pytest.mark.parametrize("make", ROLES.values(), ids=ROLES)


def never_ending() -> bytes:
    """More than a box may hold, of allowed keys."""
    return b"".join(b"\0\3%03d\xff\xff" % key + b"x" * 65535 for key in range(160))


BROKEN = {
    "an empty box": (b"\0\0", "neither asks nor answers"),
    "a key over 255 bytes": (serialize({b"k" * 256: b""}), "this is not AMP"),
    "a key of 65535 bytes": (b"\xff\xff" + b"k" * 1000, "this is not AMP"),
    "an unknown answer tag": (serialize({b"_answer": b"\x1b[2J\n"}), "not asked"),
    "an unknown error tag": (serialize({b"_error": b"9", b"_error_code": b"\0"}), "not asked"),
    "a question and an answer": (serialize({b"_answer": b"1", b"_ask": b"2"}), "not asked"),
    "a box that never ends": (never_ending(), "bytes in one box"),
    "a box of endless keys": (b"\0\1a\0\1b" * 300, "keys in one box"),
    "an unknown command that wants no answer": (serialize({b"_command": b"\x1b[2J"}), "command"),
    "arguments, and no answer wanted": (serialize({b"_command": b"PutChunk"}), "PutChunk"),
}


@as_role
def test_boxes_that_cannot_be_answered(ground: Ground, make: Make) -> None:
    def attack() -> None:
        for name, (data, _) in BROKEN.items():
            with make(ground) as peer:
                peers.send(peer.stream, data)
                assert peer.is_dropped(), name

    endured = ground.endures(attack, 0.5)
    for _, words in BROKEN.values():
        assert words in endured.logged


def test_commands_that_do_not_exist(ground: Ground) -> None:
    def attack() -> None:
        for make in ROLES.values():
            with make(ground) as peer:
                for name in ("Eval", "query", "", "\x1b[2J\n\0", "é" * 100, "_ask", "Query "):
                    assert peer.refusal(name).code in ("UNHANDLED", "NOT_ALLOWED"), name
                peer.ask("Ping")

    ground.endures(attack)


NOT_FOR = {
    "client": ["Join", "Begun", "Finished", "Returned", "WorkerState"],
    "worker": [
        *("OpenSession", "Submit", "Cancel", "Retry", "Forget", "Watch", "Query", "Attach"),
        *("ReloadWorkers", "DrainWorker", "Backup", "Shutdown", "CloseGroup", "Detach"),
        *("CreateToken", "ListTokens", "RevokeToken"),
    ],
}
TO_PEERS = ["Assign", "EndAttempts", "Retract", "AttachWorker", "Reload", "Drain", "Delivered"]


@pytest.mark.parametrize("role", NOT_FOR)
def test_commands_of_another_role(ground: Ground, role: str) -> None:
    with ROLES[role](ground) as peer:

        def attack() -> None:
            for name in [*NOT_FOR[role], *TO_PEERS, "Hello", "Authenticate"]:
                assert peer.refusal(name).code == "NOT_ALLOWED", name

        ground.endures(attack, 0.3)
        peer.ask("Ping")


OPERATORS: dict[str, dict[str, Any]] = {
    "ReloadWorkers": {},
    "DrainWorker": {"worker": "w1"},
    "Backup": {"folder": "/tmp/never"},
    "Shutdown": {},
    "CreateToken": {"role": "operator"},
    "ListTokens": {},
    "RevokeToken": {"token": "x" * 11, "joined": False},
}


@pytest.mark.parametrize("role", ["client", "viewer"])
def test_what_only_an_operator_may(ground: Ground, role: str) -> None:
    with peers.client(ground, peers.token(ground, role)) as peer:
        for name, fields in OPERATORS.items():
            assert peer.refusal(name, **fields).code == "NOT_ALLOWED", name
    assert ground.coordinator.alive()


DEEP = b"\x91" * 200_000 + b"\xc0"
FRAMES = {
    "no bytes": b"",
    "no list": msgpack.packb(1),
    "a map": msgpack.packb({}),
    "bytes after it": msgpack.packb([[], []]) + b"\0",
    "bytes that are promised": b"\xc6\xff\xff\xff\xff" + b"x" * 100,
    "text that is promised": b"\xdb\xff\xff\xff\xff" + b"x" * 100,
    "a list that is promised": b"\xdd\xff\xff\xff\xff",
    "lists that are promised": b"\xdd\x0f\xff\xff\xff" * 50,
    "a map that is promised": b"\xdf\xff\xff\xff\xff",
    "nested lists": DEEP,
    "nested maps": b"\x81\xa1k" * 100_000 + b"\xc0",
    "a map of lists as keys": b"\x81\x90\xc0",
    "an extension": msgpack.packb(msgpack.ExtType(5, b"x" * 100)),
    "a time stamp": b"\xc7\x0c\xff" + b"\xff" * 12,
    "no UTF-8": b"\xa2\xff\xfe",
    "the unused byte": b"\xc1",
}
"""Frames that lie about their length, go too deep, or are none."""

PLACES: dict[str, tuple[Make, Callable[[Peer, bytes], Any]]] = {
    "Submit": (peers.client, lambda p, data: p.ask("Submit", sequence=p.sequence, jobs=data)),
    "a spec": (
        peers.client,
        lambda p, data: p.ask("Submit", sequence=p.sequence, jobs=frame((data, b""))),
    ),
    "Query": (peers.client, lambda p, data: p.ask("Query", question="jobs", details=data)),
    "Cancel": (peers.client, lambda p, data: p.ask("Cancel", jobs=data, queued_only=False)),
    "Watch": (peers.client, lambda p, data: p.ask("Watch", jobs=data)),
    "Finished": (peers.worker, lambda p, data: p.ask("Finished", reports=data)),
    "Begun": (peers.worker, lambda p, data: p.ask("Begun", attempts=data)),
    "Join": (peers.admitted_worker, lambda p, data: p.ask("Join", info=data, held=b"\x90")),
    "WorkerState": (peers.worker, lambda p, data: p.ask("WorkerState", state=data)),
}
FINE = {("Query", "a map"), ("WorkerState", "a map")}


def test_frames_that_lie_or_go_too_deep(ground: Ground) -> None:
    with contextlib.ExitStack() as stack:
        made = {place: stack.enter_context(make(ground)) for place, (make, _) in PLACES.items()}

        codes = ("MALFORMED", "TOO_LARGE")

        def attack() -> None:
            for place, (_, ask) in PLACES.items():
                for name, data in FRAMES.items():
                    if (place, name) not in FINE:
                        refused(lambda a=ask, p=made[place], d=data: a(p, d), *codes)

        ground.endures(attack)
        for peer in made.values():
            peer.ask("Ping")


BIG = 2**64 - 1
MALFORMED: list[tuple[str, dict[str, Any]]] = [
    ("Submit", {}),
    ("Submit", {"sequence": -1, "jobs": frame()}),
    ("Submit", {"sequence": 0, "jobs": frame((spec(), b""))}),
    ("Submit", {"sequence": 2**63, "jobs": frame()}),
    ("Submit", {"sequence": b"1" * 6000, "jobs": frame()}),
    ("Submit", {"sequence": b"0x1", "jobs": frame()}),
    ("Submit", {"sequence": 1, "group": -1, "jobs": frame()}),
    ("Submit", {"sequence": 1, "jobs": msgpack.packb([[spec()], [[-1, b"", None, None]]])}),
    ("Submit", {"sequence": 1, "jobs": msgpack.packb([[spec()], [[BIG, b"", None, None]]])}),
    ("Submit", {"sequence": 1, "jobs": msgpack.packb([[spec()], [[True, b"", None, None]]])}),
    ("Submit", {"sequence": 1, "jobs": msgpack.packb([["text"], [[0, b"", None, None]]])}),
    ("Submit", {"sequence": 1, "jobs": msgpack.packb([[spec()], [[0, "text", None, None]]])}),
    ("Submit", {"sequence": 1, "jobs": msgpack.packb([[spec()], [[0, b"", b"key", None]]])}),
    ("Submit", {"sequence": 1, "jobs": msgpack.packb([[spec()], [[0, b"", None, BIG]]])}),
    ("Submit", {"sequence": 1, "jobs": msgpack.packb([[spec()], [[0, [b"x", 1], None, None]]])}),
    ("Submit", {"sequence": 1, "jobs": msgpack.packb([[spec()], [0]])}),
    *(
        ("Submit", {"sequence": 1, "jobs": frame((spec(**bad), b""))})
        for bad in (
            {"kind": "eval"},
            {"target": 5},
            {"target": b"bytes"},
            {"function": [b"short", 1]},
            {"function": [b"x" * 32, -1]},
            {"ships": 7},
            {"name": "x" * 201},
            {"name": 1},
            {"timeout": -1},
            {"timeout": float("nan")},
            {"deadline": float("inf")},
            {"env": [["A"]]},
            {"env": [["A", 1]]},
            {"env": {"A": "1"}},
            {"path": [None]},
            {"retries": -1},
            {"retries": True},
            {"backoff": float("nan")},
            {"max_losses": -1},
            {"retry_on": "x"},
            {"orphans": "x" * 1000},
        )
    ),
    (
        "Submit",
        {"sequence": 1, "jobs": msgpack.packb([[msgpack.packb([])], [[0, b"", None, None]]])},
    ),
    ("Cancel", {"jobs": "text", "queued_only": False}),
    ("Cancel", {"jobs": ["x"], "queued_only": False}),
    ("Cancel", {"jobs": [True], "queued_only": False}),
    ("Cancel", {"jobs": [BIG], "queued_only": False}),
    ("Cancel", {"jobs": [-1], "queued_only": False}),
    ("Cancel", {"jobs": [1], "queued_only": b"perhaps"}),
    ("Retry", {"jobs": [1.5]}),
    ("Forget", {"jobs": {"a": 1}}),
    ("Watch", {"jobs": [None]}),
    ("Attach", {"job": -1, "follow": True}),
    ("Attach", {"job": 2**70, "follow": True}),
    ("Attach", {"job": b"9" * 5000, "follow": True}),
    ("Detach", {"job": b""}),
    ("CloseGroup", {"group": 2**70, "size": 1}),
    ("CloseGroup", {"group": 1, "size": -1}),
    ("OpenSession", {"session": b"short"}),
    ("Query", {"question": "jobs", "details": [1]}),
    ("Query", {"question": "jobs", "details": {1: 2}}),
    ("Query", {"question": "eval", "details": {}}),
    ("Query", {"question": "__class__", "details": {}}),
    ("Query", {"question": "_own", "details": {}}),
    ("Query", {"question": b"\xff", "details": {}}),
    ("Query", {"question": "job", "details": {}}),
    *(
        ("Query", {"question": "jobs", "details": {"limit": 10, **bad}})
        for bad in (
            {"limit": -1},
            {"limit": "10"},
            {"limit": 1e300},
            {"after": "x"},
            {"after": BIG},
            {"after": -(2**63)},
            {"group": BIG},
            {"group": "g1"},
            {"state": 5},
            {"name": 5},
            {"name": b"x"},
        )
    ),
    *(
        ("Query", {"question": question, "details": {question: bad}})
        for question in ("job", "group")
        for bad in (BIG, -(2**63), "1", None, 1.5, [1], True)
    ),
    *(
        ("Query", {"question": "select", "details": {"limit": 10, **bad}})
        for bad in (
            {},
            {"what": "x"},
            {"what": ["all"]},
            {"what": "range"},
            {"what": "range", "first": BIG, "last": BIG},
            {"what": "range", "first": "a", "last": "z"},
            {"what": "group", "group": BIG},
            {"what": "all", "limit": -1},
            {"what": "all", "after": BIG},
        )
    ),
    ("PutChunk", {"digest": b"short", "size": 1, "offset": 0, "data": b"x"}),
    ("PutChunk", {"digest": b"x" * 32, "size": -1, "offset": 0, "data": b"x"}),
    ("PutChunk", {"digest": b"x" * 32, "size": 1, "offset": -262144, "data": b"x"}),
    ("PutChunk", {"digest": b"x" * 32, "size": 10, "offset": 0, "data": b"x"}),
    ("PutChunk", {"digest": b"x" * 32, "size": 1, "offset": 7, "data": b"x"}),
    ("PutChunk", {"digest": b"x" * 32, "size": 0, "offset": 0, "data": b"x"}),
    ("PutChunk", {"digest": b"x" * 32, "size": b"9" * 5000, "offset": 0, "data": b"x"}),
    ("GetChunk", {"digest": b"x" * 32, "offset": b"x"}),
]


def test_malformed_arguments(ground: Ground) -> None:
    """Each is answered in words; a fault of the coordinator would be a traceback in its log."""
    codes = ("MALFORMED", "TOO_LARGE", "NO_SUCH_JOB", "NO_SUCH_GROUP", "NOT_ALLOWED")
    with peers.client(ground) as peer:

        def attack() -> None:
            for command, fields in MALFORMED:
                try:
                    text = refused(lambda c=command, f=fields: peer.ask(c, **f), *codes)
                except AssertionError as e:
                    raise AssertionError(f"{command} {fields!r:.200}: {e}") from None
                assert len(text) < 1000, (command, text)

        ground.endures(attack, 0.3)
        assert peer.data("Query", "answer", question="status", details={})


def test_chunks_out_of_order_and_false_hashes(ground: Ground) -> None:
    data = b"value " * 100_000
    wrong = digest_of(b"something else")
    size = len(data)

    def attack() -> None:
        with peers.client(ground) as peer:
            second = {"digest": digest_of(data), "size": size, "offset": 262144}
            refused(lambda: peer.ask("PutChunk", data=data[262144:524288], **second), "MALFORMED")
            for offset in (0, 262144):
                chunk = data[offset : offset + 262144]
                peer.ask("PutChunk", digest=wrong, size=size, offset=offset, data=chunk)
            last = {"digest": wrong, "size": size, "offset": 524288, "data": data[524288:]}
            refused(lambda: peer.ask("PutChunk", **last), "MALFORMED")
            refused(lambda: peer.ask("GetChunk", digest=wrong, offset=0), "NO_SUCH_BLOB")

    ground.endures(attack, 0.5)
    assert not list(ground.folder.rglob(wrong.hex() + "*"))


def test_uploads_that_are_never_finished(ground: Ground) -> None:
    """Of values that would fill any disk; what was sent of them is bounded, or goes with time."""

    def attack() -> None:
        with peers.client(ground) as peer:
            for number in range(40):
                digest = digest_of(b"%d" % number)
                chunk = {"digest": digest, "size": 2**61, "offset": 0, "data": b"x" * 262144}
                try:
                    peer.ask("PutChunk", **chunk)
                except Refusal as refusal:
                    assert refusal.code in ("QUEUE_FULL", "TOO_LARGE", "STORAGE_FULL")

    ground.endures(attack, 0.3)


def test_many_questions_and_no_ear_for_answers(ground: Ground) -> None:
    question = serialize(
        {
            b"_command": b"Query",
            b"_ask": b"1",
            b"question": b"status",
            b"details": msgpack.packb({}),
        }
    )

    def attack() -> None:
        with contextlib.closing(peers.client(ground)) as peer:
            peer.stream.settimeout(0.5)
            with contextlib.suppress(TimeoutError):  # it is not read from any more
                for _ in range(100):
                    peer.stream.sendall(question * 1000)

    ground.endures(attack, 0.5)


def test_boxes_that_are_held_open(ground: Ground) -> None:
    """Each connection keeps the beginning of a large box, and sends no more."""
    begun = b"".join(b"\0\3%03d\xff\xff" % key + b"x" * 65535 for key in range(100))

    def attack() -> None:
        with peers.several([peers.client(ground) for _ in range(8)]) as many:
            for peer in many:
                peers.send(peer.stream, begun)

    ground.endures(attack, 0.3)


def test_a_box_of_many_small_keys_in_single_bytes(ground: Ground) -> None:
    """Sent byte by byte, so that whoever copies what is there at every byte is slow."""
    box = struct.pack(">H", 3) + b"key" + struct.pack(">H", 60000) + b"x" * 3000

    def attack() -> None:
        with contextlib.closing(peers.client(ground)) as peer:
            for place in range(len(box)):
                peer.stream.sendall(box[place : place + 1])

    ground.endures(attack, 0.3)


def test_values_over_the_limits(ground: Ground) -> None:
    own = spec()

    def attack() -> None:
        with peers.client(ground) as peer:
            for jobs in (
                frame((own, b"x" * 40_000)),
                frame(*[(own, b"")] * (LARGE_FRAME_JOBS + 1)),
                frame((spec(target="x" * 1_100_000), b"")),
                frame((own, b""), keys=["k" * 201]),
            ):
                refused(
                    lambda jobs=jobs: peer.ask("Submit", sequence=peer.sequence, jobs=jobs),
                    "TOO_LARGE",
                    "MALFORMED",
                )
            many = list(range(1, 100_002))
            refused(lambda: peer.ask("Watch", jobs=many), "TOO_LARGE")
            assert put(peer, b"")[1] == 0  # an empty value is one

    ground.endures(attack, 0.5)
    assert handmade.digest_of(b"")
