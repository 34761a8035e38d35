"""The identities of the project, as distinct types, and how people write them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple, NewType

JobId = NewType("JobId", int)
"""A job: a small integer, unique within one store, shown as ``17``."""

GroupId = NewType("GroupId", int)
"""A group: the jobs of one ``map``, shown as ``g3``."""

ClientId = NewType("ClientId", str)
"""Who submits, by credential: ``local`` on the UNIX socket, the token's id over TCP."""

SessionId = NewType("SessionId", bytes)
"""One pool of one client program: 16 random bytes, the scope of its sequence numbers."""

WorkerId = NewType("WorkerId", str)
"""A worker, by the name that people see."""

LOCAL_CLIENT = ClientId("local")

_GROUP = re.compile(r"g([1-9][0-9]{0,17})\Z")


class Attempt(NamedTuple):
    """One execution of a job. A result is accepted from the current attempt only."""

    term: int
    number: int


def show_group(group: GroupId) -> str:
    """``3`` as ``g3``."""
    return f"g{group}"


def parse_group(text: str) -> GroupId:
    """``g3`` as ``3``.

    Raises:
        ValueError: the text is no group id.
    """
    found = _GROUP.match(text)
    if found is None:
        raise ValueError(f"{text!r} is no group: a group is written like g3")
    return GroupId(int(found.group(1)))


def each_id(runs: Iterable[Sequence[int]]) -> Iterator[JobId]:
    """The ids of runs ``(first, count)``, in their order."""
    for first, count in runs:
        yield from map(JobId, range(first, first + count))
