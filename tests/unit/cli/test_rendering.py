"""Values, times and names as they are shown."""

from __future__ import annotations

import datetime
import json
import pickle

import pytest
from ampacity.cli.rendering import (
    byte_count,
    call_text,
    dumps,
    harmless,
    harmless_lines,
    local_time,
    rfc3339,
    span,
    value_json,
    value_line,
    value_text,
)
from ampacity.protocol.jobs import BlobRef, JobSpec
from ampacity.protocol.outcomes import Shown
from ampacity.protocol.packing import pack_arguments
from hypothesis import given
from hypothesis import strategies as st

TEXT = Shown(True, "str", '"two\\nlines"')
NUMBER = Shown(True, "int", "120")
OBJECT = Shown(False, "mod.Thing", "<Thing\n5>")


def test_values() -> None:
    assert value_text(NUMBER) == "120"
    assert value_text(TEXT) == "two\nlines"
    assert value_text(OBJECT) == "<Thing\n5>"
    assert value_text(None) == ""


def test_values_on_one_line() -> None:
    assert value_line(NUMBER) == "120"
    assert value_line(TEXT) == '"two\\nlines"'
    assert value_line(OBJECT) == "<Thing\\n5>"
    assert value_line(Shown(True, "str", '"plain"')) == "plain"


def test_values_in_records() -> None:
    assert value_json(NUMBER) == {"value": 120}
    assert value_json(OBJECT) == {"repr": "<Thing\n5>", "type": "mod.Thing"}


def test_escapes_are_shown() -> None:
    assert harmless("a\x1b[31mb\r\n\x07") == "a\\x1b[31mb\\r\\n\\x07"
    assert harmless_lines("a\x1b[2J\n\tb") == "a\\x1b[2J\n\tb"
    assert harmless("abc\u202egpj") == "abc\\u202egpj"
    assert harmless("grün 漢字") == "grün 漢字"


@given(st.text())
def test_nothing_controls_the_terminal(text: str) -> None:
    shown = harmless(text)
    shown.encode()
    assert "\x1b" not in shown
    assert "\n" not in shown


def test_json() -> None:
    assert dumps({"a": b"\xff", "b": float("nan"), 3: "\ud800"}) == (
        '{"a": "\ufffd", "b": null, "3": "\\\\ud800"}'
    )


UNSEEN = "\x1b[2J\x07\x7f\x85\x9b\xad\u061c\u200b\u200f\u2028\u202e\u2066\ufeff\U000e0041"


def test_json_says_the_same_and_acts_on_no_terminal() -> None:
    written = dumps({UNSEEN: [UNSEEN, "grün 漢字 \u200d"]})
    assert json.loads(written) == {UNSEEN: [UNSEEN, "grün 漢字 \u200d"]}
    assert harmless(written) == written
    assert "grün 漢字 \u200d" in written


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_any_text_comes_back_from_json(text: str) -> None:
    written = dumps([text])
    assert json.loads(written) == [text]
    assert harmless(written) == written


def test_json_that_is_nested_too_deep_for_a_reader() -> None:
    nested: list[object] = []
    for _ in range(5000):
        nested = [nested]
    assert dumps(nested).count("[") == 256


@pytest.mark.parametrize("text", ["{", "[" * 5000, "[" * 400 + "]" * 400, "1" * 5000, "\x1b[2J"])
def test_a_worker_may_call_json_what_is_none(text: str) -> None:
    shown = Shown(True, "str", text)
    assert value_json(shown) == {"repr": text, "type": "str"}
    assert value_text(shown) == text
    assert harmless(value_line(shown)) == value_line(shown)


def test_json_of_a_worker_is_harmless() -> None:
    shown = Shown(True, "list", '["\u202e\x9b",\n 1]')
    assert value_text(shown) == '["\\u202e\\u009b",\n 1]'
    assert value_line(shown) == '["\\u202e\\u009b", 1]'
    assert value_json(shown) == {"value": ["\u202e\x9b", 1]}


@pytest.mark.parametrize("moment", [1e300, -1e300, 1e18])
def test_moments_that_no_calendar_has(moment: float) -> None:
    assert str(rfc3339(moment))[:4] in ("1970", "9987")
    assert local_time(moment)


def test_times_in_records_are_utc() -> None:
    assert rfc3339(1_700_000_000.5) == "2023-11-14T22:13:20.500Z"
    assert rfc3339(None) is None


def test_times_for_people_are_local() -> None:
    now = datetime.datetime(2026, 5, 4, 12, 0).astimezone().timestamp()
    assert local_time(now, now) == "12:00:00"
    assert local_time(now) == "2026-05-04 12:00:00"
    assert local_time(now - 86400, now) == "2026-05-03 12:00:00"


def test_spans() -> None:
    shown = [span(seconds) for seconds in (0.00084, 0.012, 3.21, 312, 7385, None)]
    assert shown == ["840 µs", "12 ms", "3.2 s", "5 m 12 s", "2 h 3 m", ""]


def test_byte_counts() -> None:
    assert [byte_count(n) for n in (512, 1536, 3 << 30, None)] == [
        "512 B",
        "1.5 KiB",
        "3.0 GiB",
        "",
    ]


def test_a_call_as_python_writes_it() -> None:
    spec = JobSpec(kind="import", target="m:C.f", arguments="json")
    packed = pack_arguments([[1, "a'b", None], {"seed": [True]}])
    assert call_text(spec, packed, len(packed)) == """m.C.f(1, "a'b", None, seed=[True])"""


def test_a_command_as_a_shell_writes_it() -> None:
    spec = JobSpec(kind="command", target="x", arguments="json")
    packed = pack_arguments(["echo", "two words", "\x1b[31m"])
    assert call_text(spec, packed, len(packed)) == "echo 'two words' '\\x1b[31m'"


def test_a_pickle_stays_closed() -> None:
    class Trap:
        def __reduce__(self) -> tuple[object, ...]:
            return (json.loads, ("opened",))

    spec = JobSpec(kind="import", target="m:f")
    packed = pickle.dumps(((Trap(),), {}))
    assert call_text(spec, packed, 512) == "m:f(…pickled, 512 B)"
    assert call_text(spec, BlobRef(b"x" * 32, 2048), 2048) == "m:f(…pickled, 2.0 KiB)"


def test_a_damaged_call() -> None:
    spec = JobSpec(kind="import", target="m:f", arguments="json")
    assert call_text(spec, b"\xc1", 1) == "m:f(…damaged, 1 B)"
    assert call_text(spec, pack_arguments(5), 1) == "m:f(…damaged, 1 B)"
    assert call_text(spec, pack_arguments([[], 5]), 1) == "m:f(…damaged, 1 B)"
    nested = b"\x92\x91" + b"\x91" * 1000 + b"\x90\x80"
    shown = call_text(spec, nested, 1)  # newer Pythons show what older ones find too deep
    assert shown == "m:f(…damaged, 1 B)" or shown.startswith("m.f([[[[")
