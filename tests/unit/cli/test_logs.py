"""What the log shows of values that somebody else has chosen."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from ampacity.cli.logs import Lines, harmless_text_log
from ampacity.cli.twisting import log_harmlessly
from twisted.logger import Logger, LogLevel, jsonFileLogObserver, textFileLogObserver
from twisted.python.failure import Failure

HOSTILE = "a\x1b[2J\x9b\u202e\r\n2026-01-01T00:00:00Z info  x: all is well\0\udc80"


def logged(observer: Any, **values: object) -> None:
    log = Logger(namespace="n", observer=observer)
    log.emit(LogLevel.info, "says {text}", text=HOSTILE, **values)


def failure() -> Failure:
    try:
        raise ValueError(HOSTILE)
    except ValueError:
        return Failure()


def assert_harmless(text: str) -> None:
    for char in "\x1b\x9b\u202e\r\0\udc80":
        assert char not in text


def test_a_text_log_has_a_line_a_record() -> None:
    out = io.StringIO()
    logged(Lines(out, as_json=False))
    (line,) = out.getvalue().splitlines()
    assert line.endswith("Z info  x: all is well\\x00\\udc80")
    assert_harmless(line)


def test_an_exception_begins_no_record() -> None:
    out = io.StringIO()
    logged(Lines(out, as_json=False), log_failure=failure())
    first, *others = out.getvalue().splitlines()
    assert "says" in first
    assert any("all is well" in line for line in others)
    assert all(line.startswith("  ") for line in others)
    assert_harmless(out.getvalue())


def test_a_json_log_has_a_line_a_record() -> None:
    out = io.StringIO()
    logged(Lines(out, as_json=True), log_failure=failure())
    (line,) = out.getvalue().split("\n")[:-1]
    assert_harmless(line)
    record = json.loads(line)
    assert_harmless(record["message"])
    assert "\x1b[2J\x9b\u202e\r\n2026" in record["traceback"]


def test_what_twist_logs_as_text() -> None:
    out = io.StringIO()
    logged(harmless_text_log(out))
    assert "says a\\x1b[2J\\x9b\\u202e\\r\n\t2026" in out.getvalue()
    assert_harmless(out.getvalue())


@pytest.mark.parametrize("given", [textFileLogObserver, jsonFileLogObserver])
def test_twist_is_told_to_log_so(given: Any) -> None:
    class Options(dict[str, Any]):
        parent: dict[str, Any] | None = None

    options = Options()
    log_harmlessly(options)  # type: ignore[arg-type]  # what is asked of it
    options.parent = {"fileLogObserverFactory": given}
    log_harmlessly(options)  # type: ignore[arg-type]  # as above
    wanted = harmless_text_log if given is textFileLogObserver else given
    assert options.parent["fileLogObserverFactory"] is wanted
