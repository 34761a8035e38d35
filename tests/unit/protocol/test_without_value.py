"""An outcome for others than its client: text, and nothing that could be unpickled."""

from __future__ import annotations

from typing import Any

import pytest
from ampacity.protocol.jobs import BlobRef, Payload
from ampacity.protocol.outcomes import (
    ErrorText,
    Evidence,
    Outcome,
    Shown,
    pack_outcome,
    unpack_outcome,
    without_value,
)
from ampacity.protocol.packing import pack, unpack

SAID: dict[str, Any] = {
    "shown": Shown(True, "int", "7"),
    "error": ErrorText("ValueError", "no", "Traceback"),
    "exit_code": 3,
    "evidence": Evidence(worker="w"),
    "tail": b"printed",
}


@pytest.mark.parametrize("value", [b"pickle", BlobRef(b"d" * 32, 70_000)])
def test_the_value_goes_and_the_text_stays(value: Payload) -> None:
    body = without_value(pack_outcome(Outcome(value=value, **SAID)))
    assert unpack_outcome(body) == Outcome(withheld=True, **SAID)
    assert b"pickle" not in body
    assert b"d" * 32 not in body
    assert without_value(body) == body


def test_where_there_is_no_value_nothing_is_withheld() -> None:
    body = pack_outcome(Outcome(exit_code=0))
    assert without_value(body) == body
    assert without_value(b"") == b""
    assert not unpack_outcome(body).withheld


@pytest.mark.parametrize("body", [b"pickle", b"\x91\x01", pack([b"pickle", 1]), b"\xc1"])
def test_of_what_is_no_outcome_nothing_is_left(body: bytes) -> None:
    assert without_value(body) == b""


def test_a_reader_of_the_release_before_takes_it_for_a_job_without_a_value() -> None:
    """It reads the first six fields, and leaves what it does not know."""
    fields = unpack(without_value(pack_outcome(Outcome(value=b"pickle"))))
    assert fields[:6] == [None, None, None, None, None, b""]
