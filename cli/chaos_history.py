"""What happened in a chaos run: events as plain data, and as lines of JSON.

Times (``at``, ``until``) are seconds of the machine's monotonic clock, which all processes of a
run share. ``job`` is always the index in the plan, ``id`` the coordinator's number. ``client`` is
a client program and its life, ``0.2`` for the second program of client 0; one life is one process.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import NamedTuple

ALL_WORKERS = 0
"""Stands for a process id where a fault struck all workers at once."""


class Invoked(NamedTuple):
    """A client is about to submit a job; nothing is known of its fate until one of the next."""

    at: float
    client: str
    job: int


class Accepted(NamedTuple):
    """The coordinator has the job: it must not be lost."""

    at: float
    client: str
    job: int
    id: int


class Refused(NamedTuple):
    """The coordinator has said no: this submission must never have an outcome."""

    at: float
    client: str
    job: int
    why: str


class Unknown(NamedTuple):
    """The submission may have been accepted or not: the answer never came."""

    at: float
    client: str
    job: int
    why: str


class Cancelling(NamedTuple):
    """A client asks for the end of a job."""

    at: float
    client: str
    job: int


class Delivered(NamedTuple):
    """A client's Deferred has fired."""

    at: float
    client: str
    job: int
    id: int | None
    ending: str
    """As people read it; anything that is no ending tells what came instead."""
    run: str | None = None
    """The execution that the value, or the exception, names."""
    value: str | None = None
    """The digest of what was computed."""


class Done(NamedTuple):
    """A client program has seen the end of all that it submitted."""

    at: float
    client: str


class Started(NamedTuple):
    """An execution begins, in a child."""

    at: float
    job: int
    id: int
    attempt: str
    """``TERM.NUMBER``."""
    run: str
    """Random, of this execution alone."""
    pid: int
    agent: int
    """The process id of the child's agent."""


class Ended(NamedTuple):
    """An execution has come to its end, in its child; ``how``: ``value`` or ``raised``."""

    at: float
    job: int
    run: str
    how: str


class Struck(NamedTuple):
    """A fault, and the process whose executions it may have cost."""

    at: float
    until: float
    fault: str
    target: str
    """For people: ``w1``."""
    pid: int | None
    """An agent, a child, ``ALL_WORKERS``, or None where no execution is lost by it."""


class Found(NamedTuple):
    """A job as the coordinator knows it in the end."""

    id: int
    job: int | None
    """None: its index cannot be told, or there is none."""
    ending: str
    attempts: int
    losses: int
    run: str | None = None
    value: str | None = None


Event = (
    Invoked
    | Accepted
    | Refused
    | Unknown
    | Cancelling
    | Delivered
    | Done
    | Started
    | Ended
    | Struck
    | Found
)

_KINDS: dict[str, type[Event]] = {
    kind.__name__.lower(): kind
    for kind in (
        Invoked,
        Accepted,
        Refused,
        Unknown,
        Cancelling,
        Delivered,
        Done,
        Started,
        Ended,
        Struck,
        Found,
    )
}


def line_of(event: Event) -> bytes:
    """One line of JSON, to be written by one ``write`` so that a kill leaves it whole or out."""
    words = [type(event).__name__.lower(), *event]
    return json.dumps(words, separators=(",", ":")).encode() + b"\n"


def event_of(line: bytes | str) -> Event:
    """The event that ``line_of`` wrote.

    Raises:
        ValueError: it is none.
    """
    try:
        name, *fields = json.loads(line)
        return _KINDS[name](*fields)
    except (TypeError, KeyError) as e:
        raise ValueError(f"{line!r:.100} is no event: {e!r}") from None


def events_of(data: bytes) -> list[Event]:
    """The events of a file; an unfinished last line is one that never happened."""
    whole, _, _rest = data.rpartition(b"\n")
    return [event_of(line) for line in whole.splitlines() if line]


def lines_of(events: Iterable[Event]) -> bytes:
    """A file's content."""
    return b"".join(line_of(event) for event in events)
