"""Ended jobs on stdout and stderr: values as data, failures for people."""

from __future__ import annotations

import sys
from typing import Any

from ..protocol.outcomes import Delivery, Ending, Outcome, StreamLog, unpack_outcome
from .connection import Link
from .failures import ending_text, say
from .records import delivery_record
from .rendering import (
    dumps,
    harmless,
    harmless_block,
    harmless_lines,
    is_data,
    value_line,
    value_text,
)
from .shared import on_terminal
from .streams import Writer


def log_bytes(log: StreamLog) -> bytes:
    """A kept stream, with its gap stated."""
    if not log.gap:
        return log.head + log.tail
    return log.head + b"\n[... %d bytes are not kept ...]\n" % log.gap + log.tail


async def print_value(writer: Writer, outcome: Outcome) -> None:
    """A lone result: JSON as it is, text bare, anything else as it was shown.

    On a terminal, and in what is no data, control characters are shown, not obeyed.
    """
    text = value_text(outcome.shown)
    bare = is_data(outcome.shown) and not on_terminal(1)
    await writer.line(text if bare else harmless_lines(text))
    await writer.flush()


async def print_logs(writer: Writer, link: Link, delivery: Delivery) -> None:
    """What a command printed, each stream to its own."""
    log, _live = await link.attach(delivery.job)
    for stream, kept in ((1, log.stdout), (2, log.stderr)):
        if data := log_bytes(kept):
            await writer.write(stream, data)


def tell_failure(delivery: Delivery, outcome: Outcome, with_traceback: bool = True) -> None:
    """A job's failure, on stderr."""
    traceback = "" if outcome.error is None else outcome.error.traceback.rstrip()
    if with_traceback and "\n" in traceback:
        print(harmless_block(traceback), file=sys.stderr)
    what = "failed: " if delivery.ending is Ending.FAILED else ""
    say(f"job {delivery.job} {what}{ending_text(delivery.ending, outcome)}")


async def print_outcome(
    writer: Writer,
    link: Link,
    delivery: Delivery,
    as_json: bool,
    with_logs: bool,
    fields: dict[str, Any] | None = None,
) -> None:
    """A lone job's outcome. ``with_logs``: a command's output has not been shown yet.

    ``fields`` are the record's first ones.
    """
    outcome = unpack_outcome(delivery.body)
    if as_json:
        await writer.line(dumps({**(fields or {}), **delivery_record(delivery)}))
        await writer.flush()
        return
    if outcome.exit_code is not None:
        if not with_logs:
            return  # it has been seen, and the exit code is ours
        await print_logs(writer, link, delivery)
    if delivery.ending is not Ending.SUCCEEDED:
        tell_failure(delivery, outcome)
    elif outcome.exit_code is None:
        await print_value(writer, outcome)


async def print_item(
    writer: Writer, link: Link, delivery: Delivery, as_json: bool, item: dict[str, Any]
) -> None:
    """One of many: a value on its line, a command's output, a failure on stderr.

    ``item`` are the record's first fields: ``index`` and, where it is known, ``item``. Lines may
    still be on their way when this returns: ``writer.flush`` comes after the last one.
    """
    outcome = unpack_outcome(delivery.body)
    if as_json:
        await writer.line(dumps({**item, **delivery_record(delivery)}))
        return
    if outcome.exit_code is not None:
        await print_logs(writer, link, delivery)
    if delivery.ending is not Ending.SUCCEEDED:
        await writer.flush()
        say(f"{_item_text(item)}job {delivery.job}: {ending_text(delivery.ending, outcome)}")
    elif outcome.exit_code is None:
        await writer.line(value_line(outcome.shown))


def _item_text(item: dict[str, Any]) -> str:
    if "item" not in item:
        return f"item {item['index']}, " if "index" in item else ""
    given = item["item"]
    text = harmless(given) if isinstance(given, str) else dumps(given)
    return f"item {item['index']} ({text if len(text) <= 60 else text[:60] + '…'}), "
