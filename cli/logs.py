"""Logs on stderr, as text or as one JSON object a line."""

from __future__ import annotations

import sys
import warnings
from typing import Any, TextIO

from twisted.logger import (
    FileLogObserver,
    FilteringLogObserver,
    ILogObserver,
    LogEvent,
    LogLevel,
    LogLevelFilterPredicate,
    formatEvent,
    formatEventAsClassicLogText,
    globalLogBeginner,
)
from zope.interface import implementer

from ..protocol.redacting import redacted
from .rendering import dumps, harmless, harmless_block, harmless_lines, rfc3339


@implementer(ILogObserver)
class Lines:
    """Writes each event as one line; a traceback follows as further lines, or as a field."""

    def __init__(self, out: TextIO, as_json: bool) -> None:
        self._out = out
        self._as_json = as_json

    def __call__(self, event: LogEvent) -> None:
        record = _record(event)
        line = dumps(record) if self._as_json else _text(record)
        self._out.write(redacted(line) + "\n")
        self._out.flush()


def _record(event: LogEvent) -> dict[str, Any]:
    record = {
        "time": rfc3339(event.get("log_time")),
        "level": event["log_level"].name,
        "logger": event.get("log_namespace", ""),
        "message": harmless(formatEvent(event)),
    }
    if (failure := event.get("log_failure")) is not None:
        record["traceback"] = failure.getTraceback()
    return record


def _text(record: dict[str, Any]) -> str:
    line = f"{record['time']} {record['level']:<5} {record['logger']}: {record['message']}"
    trace = record.get("traceback")
    if not trace:
        return line
    # nothing that an exception says can begin a line as a record does
    return f"{line}\n{harmless_block(trace)}"


def harmless_text_log(out: TextIO) -> ILogObserver:
    """Twisted's own text format; what values hold is shown, not obeyed."""
    return FileLogObserver(out, _twisted_text)


def _twisted_text(event: LogEvent) -> str | None:
    text = formatEventAsClassicLogText(event)
    return None if text is None else harmless_lines(redacted(text))


def begin_logging(level: str, form: str) -> None:
    """Send Twisted's log to stderr, from this level on."""
    predicate = LogLevelFilterPredicate(defaultLogLevel=LogLevel.levelWithName(level))
    # Twisted's own talk about factories and ports is of no use to who reads a service's log
    for namespace in ("twisted", "log_legacy"):
        predicate.setLogLevelForNamespace(namespace, LogLevel.warn)
    observer = FilteringLogObserver(Lines(sys.stderr, form == "json"), [predicate])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # beginning twice in one process, as tests do
        globalLogBeginner.beginLoggingTo([observer], redirectStandardIO=False)
