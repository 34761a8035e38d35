"""Little bytes that would be much in memory, and specs that hold too much."""

from __future__ import annotations

import time
from typing import Any

import attrs
import msgpack
import pytest
from ampacity.protocol import limits
from ampacity.protocol.commands import Cancel, Join, Query, WorkerState
from ampacity.protocol.errors import Malformed, TooLarge
from ampacity.protocol.jobs import (
    JobSpec,
    Submission,
    check_spec,
    pack_spec,
    pack_submissions,
    unpack_spec,
    unpack_submissions,
)
from ampacity.protocol.packing import pack, unpack

SPEC = JobSpec(kind="import", target="m:f")


def listed(count: int, item: bytes) -> bytes:
    return b"\xdd" + count.to_bytes(4, "big") + item * count


@pytest.mark.parametrize("item", [b"\x90", b"\x80", b"\x91\x90", b"\x81\x01\x90"])
def test_eight_mebibytes_of_empty_lists_take_no_time(item: bytes) -> None:
    count = (8 << 20) // len(item)
    began = time.process_time()
    with pytest.raises(Malformed):
        unpack(listed(count, item))
    with pytest.raises(Malformed):
        unpack(listed(1 << 20, item))
    assert time.process_time() - began < 0.5


def test_a_list_that_says_it_is_longer_than_its_bytes() -> None:
    with pytest.raises(Malformed):
        unpack(b"\xdd\xff\xff\xff\xff" + bytes(10_000))
    with pytest.raises(Malformed):
        unpack(b"\xdd\xff\xff\xff\xff")


def test_what_is_just_within_the_bound() -> None:
    value: list[Any] = [[] for _ in range(limits.PACKED_LISTS - 1)]
    assert unpack(pack(value)) == value
    with pytest.raises(Malformed, match="more than 65536 lists"):
        unpack(pack([*value, []]))


@pytest.mark.parametrize(
    ("argument", "data", "error"),
    [
        (dict(Query.arguments)[b"details"], pack("x" * limits.DETAILS_BYTES), TooLarge),
        (dict(WorkerState.arguments)[b"state"], pack("x" * limits.STATE_BYTES), TooLarge),
        (dict(Join.arguments)[b"info"], pack("x" * limits.DETAILS_BYTES), TooLarge),
        (dict(Cancel.arguments)[b"jobs"], bytes(limits.JOBS_A_QUESTION * 9 + 6), TooLarge),
        (dict(Cancel.arguments)[b"jobs"], pack([[0] * 9000]), Malformed),
        (dict(Join.arguments)[b"held"], listed(200_000, b"\x90"), Malformed),
    ],
)
def test_arguments_are_bounded(argument: Any, data: bytes, error: type[Exception]) -> None:
    with pytest.raises(error):
        argument.fromString(data)


def test_the_longest_list_of_ids_is_taken() -> None:
    ids = [limits.MAX_NUMBER] * limits.JOBS_A_QUESTION
    assert dict(Cancel.arguments)[b"jobs"].fromString(pack(ids)) == ids


def test_specs_that_no_job_has() -> None:
    frame = pack(([b"a", b"b"], [(0, b"", None, None)]))
    with pytest.raises(Malformed, match="no job"):
        unpack_submissions(frame)
    same = Submission(pack_spec(SPEC), b"")
    assert unpack_submissions(pack_submissions([same] * 3)) == [same] * 3


TOO_MUCH: dict[str, Any] = {
    "name": "n" * (limits.NAME_LENGTH + 1),
    "target": "t" * (limits.TEXT_LENGTH + 1),
    "host": "h" * (limits.TEXT_LENGTH + 1),
    "folder": "f" * (limits.TEXT_LENGTH + 1),
    "cwd": "c" * (limits.TEXT_LENGTH + 1),
    "python": "3" * 17,
    "env": (("a", "b"),) * (limits.SPEC_ITEMS + 1),
    "path": ("p",) * (limits.SPEC_ITEMS + 1),
    "retry_on": ("e",) * (limits.SPEC_ITEMS + 1),
    "ships": ([bytes(32), 1],) * (limits.SPEC_ITEMS + 1),
    "timeout": limits.MAX_SECONDS + 1,
    "deadline": 1e300,
    "backoff": limits.MAX_SECONDS + 1,
    "retries": limits.MAX_NUMBER + 1,
    "max_losses": limits.MAX_NUMBER + 1,
}


def having(field: str, value: Any) -> JobSpec:
    changes: dict[str, Any] = {field: value}
    return attrs.evolve(SPEC, **changes)


@pytest.mark.parametrize("field", TOO_MUCH)
def test_too_much_in_a_field_is_named_at_the_door(field: str) -> None:
    value = TOO_MUCH[field]
    spec = unpack_spec(pack_spec(having(field, value)))  # what is stored is read
    with pytest.raises(TooLarge, match=f" {field} "):
        check_spec(spec)
    less = value[:-1] if isinstance(value, str | tuple) else type(value)(limits.MAX_NUMBER)
    if isinstance(less, float):
        less = limits.MAX_SECONDS
    check_spec(having(field, less))


def test_a_coordinators_own_length_of_names() -> None:
    check_spec(attrs.evolve(SPEC, name="n" * 10), name_length=10)
    with pytest.raises(TooLarge, match="at most 10 characters"):
        check_spec(attrs.evolve(SPEC, name="n" * 11), name_length=10)


def test_depth_is_bounded() -> None:
    with pytest.raises(Malformed):
        unpack(b"\x91" * 5000 + b"\xc0")
    assert msgpack.unpackb(b"\x91" * 500 + b"\xc0")
