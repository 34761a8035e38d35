"""What tests of sessions wait with."""

from __future__ import annotations

import pickle
from typing import Any

from ampacity.protocol.jobs import JobSpec, pack_spec
from twisted.python.failure import Failure

SPEC = pack_spec(JobSpec(kind="import", target="math:sqrt"))


def value(deferred: Any) -> Any:
    """What it has fired with; raises its error."""
    got: list[Any] = []
    deferred.addBoth(got.append)
    assert got, "it has not fired"
    if isinstance(got[0], Failure):
        got[0].raiseException()
    return got[0]


class Waiting:
    """An entry of a session that writes down what it is told."""

    def __init__(self) -> None:
        self.id: Any = None
        self.frame: Any = None
        self.told: list[Any] = []

    def was_accepted(self, job: Any) -> None:
        self.id = job

    def has_ended(self, ending: Any, body: bytes) -> None:
        self.told.append(ending)

    def has_failed(self, error: Exception) -> None:
        self.told.append(error)


def submit(session: Any, count: int = 1, key: str | None = None) -> list[Any]:
    """Hand jobs in; their entries."""
    entries = [Waiting() for _ in range(count)]
    for place, entry in enumerate(entries):
        session.submit(entry, SPEC, pickle.dumps(((place,), {})), key=key)
    return entries
