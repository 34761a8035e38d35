"""Hundreds of small commits, decided by a seed: what is written, and what must be found after it.

Who writes and who checks make the same plan, so that nothing but "so many are acknowledged" has to
pass between them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from random import Random
from typing import NamedTuple

import attrs
from ampacity.coordinator.transitions import FAILED, QUEUED, RUNNING, SUCCEEDED
from ampacity.protocol.ids import SessionId
from ampacity.protocol.jobs import BlobRef

CLIENT, SESSION = "local", SessionId(b"s" * 16)
"""Whose all jobs are."""

_SIZES = (0, 10, 500, 3000, 9000)
_VALUE_SIZES = (600, 40_000, 130_000)
_AT_ONCE = 40
"""Unfinished jobs, about."""
_KEPT = 60
"""Ended ones."""


class Seen(NamedTuple):
    """One job as it must be found."""

    state: int
    payload: bytes | BlobRef
    taken: bool = False
    outcome: tuple[bytes, bytes] | None = None
    """Body and log."""
    blobs: tuple[BlobRef, ...] = ()


State = dict[int, Seen]
"""All jobs, by id."""


@attrs.frozen
class Step:
    """One commit, and the state after it."""

    number: int
    """From 1: so many commits there are then."""
    added: tuple[int, ...]
    begun: tuple[int, ...]
    ended: tuple[int, ...]
    taken: tuple[int, ...]
    forgotten: tuple[int, ...]
    values: tuple[bytes, ...]
    """The values that its jobs refer to: stored before it."""
    after: State


def data(seed: int, what: str, number: int, size: int) -> bytes:
    """Bytes that belong to nothing else."""
    return Random(f"{seed} {what} {number}").randbytes(size)


def key_of(number: int) -> str | None:
    """The key of a job; every third one has one."""
    return None if number % 3 else f"key {number}"


def ref_of(value: bytes) -> BlobRef:
    return BlobRef(hashlib.sha256(value).digest(), len(value))


def plan(seed: int, steps: int) -> Iterator[Step]:
    """The steps, in their order."""
    return _Planning(seed).steps(steps)


class _Planning:
    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._chance = Random(seed)
        self._last = 0
        self._state: State = {}
        self._values: list[bytes] = []

    def steps(self, count: int) -> Iterator[Step]:
        for number in range(1, count + 1):
            self._values = []
            added = self._add()
            begun = self._begin(added)
            ended = self._end(begun)
            taken = self._take(ended)
            forgotten = self._forget(taken)
            values, after = tuple(self._values), dict(self._state)
            yield Step(number, added, begun, ended, taken, forgotten, values, after)

    def _pick(self, states: tuple[int, ...], but: tuple[int, ...], most: int) -> tuple[int, ...]:
        fit = [n for n, job in self._state.items() if job.state in states and n not in but]
        return tuple(sorted(self._chance.sample(fit, min(len(fit), self._chance.randint(0, most)))))

    def _value(self, what: str, number: int) -> BlobRef:
        value = data(self._seed, what, number, self._chance.choice(_VALUE_SIZES))
        self._values.append(value)
        return ref_of(value)

    def _add(self) -> tuple[int, ...]:
        unfinished = sum(job.state in (QUEUED, RUNNING) for job in self._state.values())
        count = self._chance.randint(1, 3) if unfinished < _AT_ONCE else 0
        added = tuple(range(self._last + 1, self._last + 1 + count))
        self._last += count
        for number in added:
            large = self._chance.random() < 0.1
            size = self._chance.choice(_SIZES)
            self._state[number] = Seen(
                QUEUED,
                self._value("argument", number)
                if large
                else data(self._seed, "payload", number, size),
            )
        return added

    def _begin(self, but: tuple[int, ...]) -> tuple[int, ...]:
        begun = self._pick((QUEUED,), but, 2)
        for number in begun:
            self._state[number] = self._state[number]._replace(state=RUNNING)
        return begun

    def _end(self, but: tuple[int, ...]) -> tuple[int, ...]:
        ended = self._pick((RUNNING,), but, 3)
        for number in ended:
            log = data(self._seed, "log", number, self._chance.choice(_SIZES))
            body = data(self._seed, "body", number, self._chance.choice(_SIZES))
            large = self._chance.random() < 0.1
            self._state[number] = self._state[number]._replace(
                state=self._chance.choice((SUCCEEDED, FAILED)),
                outcome=(body, log),
                blobs=(self._value("result", number),) if large else (),
            )
        return ended

    def _take(self, but: tuple[int, ...]) -> tuple[int, ...]:
        taken = self._pick((SUCCEEDED, FAILED), but, 2)
        taken = tuple(number for number in taken if not self._state[number].taken)
        for number in taken:
            self._state[number] = self._state[number]._replace(taken=True)
        return taken

    def _forget(self, but: tuple[int, ...]) -> tuple[int, ...]:
        ended = [n for n, job in self._state.items() if job.taken and n not in but]
        forgotten = tuple(ended[: max(0, len(ended) - _KEPT)])
        for number in forgotten:
            del self._state[number]
        return forgotten
