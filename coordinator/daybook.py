"""What is committed and not in the tables yet: the daybook, and what its entries come to.

Theory of operation. A commit is one row of the table ``daybook``, with all of its writes packed.
That is all that a job waits for. Later, the oldest entries are brought into the tables, many at
once, and struck out in the same transaction. Of a job, whatever is known by then is written, from
later entries as well: most jobs are one row that is written once, when they are over and delivered,
and not five times. What is counted, and what is no job's, is written entry by entry.

Before anything is read that an entry may be about, all entries are brought in; at the latest when
there are many, or nothing else is to be done, or the store is closed. A store that was not closed
is brought up to date when it is opened: entries say how things are, so that it does not matter if
some of a later one is in the tables already, and what they count is not.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from itertools import chain
from operator import attrgetter, itemgetter
from typing import Final
from zlib import crc32

import attrs
import msgpack

from ..protocol.ids import JobId
from ..protocol.outcomes import Ending
from .batches import NEW, Batch, Given, NewSpec, Run, Succeeded
from .rows import Row, Rows, is_plain, outcome_seal, payload_seal

PORTION: Final = 512
"""Jobs that are brought in at once; each is counted as often as an entry is about it."""

HELD: Final = 40_000
"""Jobs that the entries are about, before the oldest are brought in."""

HELD_BYTES: Final = 16 << 20
"""The same in bytes, of the entries as they are packed."""

_ID: Final = itemgetter(0)

_JOBS: Final = attrgetter(
    "runs", "added", "given", "successes", "courses", "payloads", "outcomes", "taken"
)

_SUCCEEDED: Final = int(Ending.SUCCEEDED)


def entry_seal(number: int, packed: bytes) -> int:
    """The checksum of an entry."""
    return crc32(packed, crc32(b"%d" % number))


@attrs.frozen
class _Entry:
    number: int
    jobs: Sequence[int]
    """Which ones it is about."""
    rest: Batch
    """What it holds besides: it has no jobs' rows."""
    size: int


@attrs.define
class Portion:
    """Rows of the oldest entries."""

    last: int
    """The number of the last of these entries."""
    rest: Batch
    jobs: list[tuple[int, Row, bool, Row | Run | None, bytes | None, Row | None]] = attrs.field(
        factory=list
    )
    """What these rows are made of: see ``Daybook.put_back``."""
    added: list[Row] = attrs.field(factory=list)
    """By ``rows.ADDED``."""
    plain: list[Row] = attrs.field(factory=list)
    """New ones as well, by ``rows.PLAIN``."""
    changed: list[Row] = attrs.field(factory=list)
    """By ``rows.CHANGING``."""
    payloads: list[Row] = attrs.field(factory=list)
    outcomes: list[Row] = attrs.field(factory=list)
    taken: list[JobId] = attrs.field(factory=list)


class Daybook:
    """The entries that are not in the tables yet. It is used in the store's thread."""

    def __init__(self, rows: Rows) -> None:
        self.last = 0
        """The number of the last entry that was made."""
        self._rows = rows
        self._entries: deque[_Entry] = deque()
        self._size = 0
        self._fixed: dict[int, Row | Run] = {}
        self._courses: dict[int, Row] = {}
        self._payloads: dict[int, bytes] = {}
        self._outcomes: dict[int, Row] = {}
        self._taken: set[int] = set()
        self.forgotten: dict[int, None] = {}
        """Jobs that are to be removed from the tables."""
        self._pack = msgpack.Packer(use_bin_type=True).pack  # what a table takes, it takes
        self._pack_courses = msgpack.Packer(use_bin_type=True, unicode_errors="surrogatepass").pack

    def __bool__(self) -> bool:
        return bool(self._entries)

    @property
    def first(self) -> int:
        """The number of the oldest entry; one more than the last where there is none."""
        return self._entries[0].number if self._entries else self.last + 1

    @property
    def many(self) -> bool:
        """Whether the oldest entries are to be brought in."""
        return self._load > 1.0

    @property
    def much(self) -> bool:
        """Whether no more may be entered before that."""
        return self._load > 2.0

    @property
    def _load(self) -> float:
        return max(len(self._courses) / HELD, self._size / HELD_BYTES)

    def about(self, jobs: Iterable[int]) -> bool:
        """Whether entries are about any of these jobs."""
        held = (self._courses.keys(), self._taken, self.forgotten.keys())
        return not all(some.isdisjoint(jobs) for some in held)

    # -- entries ----------------------------------------------------------------------------------

    def packed(self, batch: Batch) -> bytes:
        """A batch as bytes.

        Raises:
            ValueError, TypeError, OverflowError: it holds what cannot be kept.
        """
        specs = [(n, s.packed, s.name, s.jobs) for n, s in batch.specs.items()]
        packed: bytes = self._pack(
            (
                batch.runs,
                batch.added,
                self._pack_courses((batch.given, batch.successes, batch.courses)),
                batch.payloads,
                batch.outcomes,
                batch.taken,
                batch.forgotten,
                specs,
                list(batch.groups.items()),
                list(batch.sessions.items()),
                list(batch.answers.values()),
                batch.forgotten_sessions,
                list(batch.workers.items()),
                list(batch.blobs.items()),
                batch.next_job,
                batch.next_group,
            )
        )
        return packed

    def unpacked(self, packed: bytes) -> Batch:
        """A batch from its bytes."""
        runs, added, courses, *parts = msgpack.unpackb(packed, use_list=False)
        batch = Batch()
        batch.runs, batch.added = [Run(*run) for run in runs], list(added)
        given, ended, others = msgpack.unpackb(
            courses, use_list=False, unicode_errors="surrogatepass"
        )
        batch.given = [Given(*some) for some in given]
        batch.successes = [Succeeded(*some) for some in ended]
        batch.courses = list(others)
        batch.payloads, batch.outcomes = list(parts[0]), list(parts[1])
        batch.taken, batch.forgotten = list(parts[2]), list(parts[3])
        batch.specs = {digest: NewSpec(*spec) for digest, *spec in parts[4]}
        batch.groups, batch.sessions = dict(parts[5]), dict(parts[6])
        batch.answers = {(row[0], row[1]): row for row in parts[7]}
        batch.forgotten_sessions, batch.workers = list(parts[8]), dict(parts[9])
        batch.blobs.update(dict(parts[10]))
        batch.next_job, batch.next_group = parts[11:]
        return batch

    def enter(self, batch: Batch, size: int) -> None:
        """A batch has become the next entry, of so many bytes."""
        self.last += 1
        fixed, courses, outcomes = self._fixed, self._courses, self._outcomes
        jobs: list[int] = []
        for run in batch.runs:
            numbers = list(range(run.first, run.first + len(run.payloads)))
            jobs += numbers
            fixed.update(dict.fromkeys(numbers, run))
            courses.update(dict.fromkeys(numbers, NEW))
            self._payloads.update(zip(numbers, run.payloads, strict=True))
        if batch.added:
            numbers = list(map(_ID, batch.added))
            jobs += numbers
            fixed.update(zip(numbers, batch.added, strict=True))
            courses.update(dict.fromkeys(numbers, NEW))
            self._payloads.update(batch.payloads)
        for given in batch.given:
            jobs += given.jobs
            courses.update(dict.fromkeys(given.jobs, given.course()))
        for some in batch.successes:
            numbers = list(map(_ID, some.jobs))
            jobs += numbers
            courses.update(zip(numbers, some.courses(), strict=True))
            outcomes.update(zip(numbers, some.jobs, strict=True))
        if batch.courses:
            jobs += map(_ID, batch.courses)
            courses.update(batch.courses)
            outcomes.update(zip(map(_ID, batch.outcomes), batch.outcomes, strict=True))
        self._taken.update(batch.taken)
        jobs += batch.taken
        self.forgotten.update(dict.fromkeys(batch.forgotten))
        for rows in _JOBS(batch):
            rows.clear()
        self._entries.append(_Entry(self.last, jobs, batch, size))
        self._size += size

    # -- portions ---------------------------------------------------------------------------------

    def portion(self, whole: bool = False) -> Portion:
        """Take out the oldest entries, or all; there are some."""
        entries: list[_Entry] = []
        jobs = 0
        for entry in self._entries:
            jobs += len(entry.jobs) + len(entry.rest.forgotten)
            if entries and jobs > PORTION and not whole:
                break
            entries.append(entry)
        portion = Portion(entries[-1].number, _together([e.rest for e in entries]))
        self._fill(portion, chain.from_iterable(entry.jobs for entry in entries))
        return portion

    def _fill(self, portion: Portion, jobs: Iterable[int]) -> None:
        rows, courses, fixed, taken = self._rows, self._courses, self._fixed, self._taken
        payloads, outcomes = self._payloads, self._outcomes
        changing, out = rows.changing, portion.jobs
        for number in jobs:
            course = courses.pop(number, None)
            marked = number in taken
            if marked:
                taken.remove(number)
            if course is None:
                if marked:
                    portion.taken.append(JobId(number))
                continue  # or this portion has all of it, or one before
            changes = changing(number, course, marked)
            new, payload = fixed.pop(number, None), payloads.pop(number, None)
            outcome = outcomes.pop(number, None)
            out.append((number, course, marked, new, payload, outcome))
            if type(new) is Run:
                new = new.fixed(number, len(payload or b""))
            if new is None:
                portion.changed.append(changes)
            elif is_plain(new, changes):
                portion.plain.append(rows.plain(new, changes))
            else:
                portion.added.append(rows.added(new, changes))
            if payload:
                portion.payloads.append((number, payload, payload_seal(number, payload)))
            if outcome is not None:
                if len(outcome) > 4:  # of one that has succeeded, by ``Succeeded``
                    outcome = (number, _SUCCEEDED, *outcome[4:])
                portion.outcomes.append((*outcome, outcome_seal(*outcome)))

    def put_back(self, portion: Portion) -> None:
        """This portion, which was taken out last, is not in the tables."""
        self._taken.update(portion.taken)
        for number, course, marked, new, payload, outcome in portion.jobs:
            self._courses[number] = course
            if marked:
                self._taken.add(number)
            if new is not None:
                self._fixed[number] = new
            if payload is not None:
                self._payloads[number] = payload
            if outcome is not None:
                self._outcomes[number] = outcome

    def strike(self, portion: Portion) -> None:
        """This portion, which was taken out last, is in the tables."""
        while self._entries and self._entries[0].number <= portion.last:
            self._size -= self._entries.popleft().size
        for number in portion.rest.forgotten:
            self.forgotten.pop(number, None)


def _together(batches: Sequence[Batch]) -> Batch:
    """What entries hold besides jobs, in their order: the last word counts."""
    merged = Batch()
    for batch in batches:
        merged.forgotten += batch.forgotten
        for digest, spec in batch.specs.items():
            known = merged.specs.setdefault(digest, NewSpec(spec.packed, spec.name))
            known.jobs += spec.jobs
        merged.groups.update(batch.groups)
        if batch.forgotten_sessions:
            merged.forgotten_sessions += batch.forgotten_sessions
            gone = set(batch.forgotten_sessions)
            for key in [key for key in merged.answers if key[0] in gone]:
                del merged.answers[key]
        merged.sessions.update(batch.sessions)
        merged.answers.update(batch.answers)
        merged.workers.update(batch.workers)
        merged.blobs.update(batch.blobs)
        merged.next_job = max(merged.next_job, batch.next_job)
        merged.next_group = max(merged.next_group, batch.next_group)
    return merged
