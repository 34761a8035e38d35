"""Answers from a store's tables, in slices: whatever is asked, other work has its turn between.

A question is a generator. It yields after every slice, and returns the answer.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Sequence
from operator import attrgetter
from typing import Any, Final, TypeVar

from sqlalchemy import and_, bindparam, select
from twisted.logger import Logger

from ..protocol.ids import JobId
from .kept import Backlog, ByIds, ByKeys, Found, KeptJob, Oldest, Orphans, Question, Stored
from .ledger import Ledger
from .rows import ADDED, Row, Rows, lost_outcome, stored
from .schema import HAS_ENDED, JOBS, ORPHAN, OUTCOMES, PAYLOADS, TAKEN, UNTAKEN
from .specs import Specs
from .sqlite_file import DIALECT, SqliteFile
from .statements import IDS, Statement, one_of, slices
from .store import StoreBroken

STATEMENTS: Final = 4
"""Questions of ``IDS`` jobs in a slice."""

NAMED: Final = 1000
"""Damaged jobs of which it is known that they were told about."""

_log = Logger()

T = TypeVar("T")
Slices = Generator[None, None, T]

_job = JOBS.c


def _statement(clause: Any) -> Statement:
    return Statement(clause, DIALECT)


_JOBS: Final = _statement(
    select(*[_job[name] for name in ADDED], PAYLOADS.c.body, PAYLOADS.c.seal)
    .select_from(JOBS.outerjoin(PAYLOADS, PAYLOADS.c.id == _job.id))
    .where(one_of(_job.id))
    .order_by(_job.id)
)
_OUTCOMES: Final = _statement(
    select(
        _job.id,
        _job.state,
        OUTCOMES.c.ending,
        OUTCOMES.c.body,
        OUTCOMES.c.log,
        OUTCOMES.c.seal,
        _job.ended,
    )
    .select_from(JOBS.outerjoin(OUTCOMES, OUTCOMES.c.id == _job.id))
    .where(one_of(_job.id))
)
_BY_KEYS: Final = _statement(
    select(_job.id).where(
        _job.client == bindparam("of_client"), _job.key.is_not(None), one_of(_job.key)
    )
)


def _ids_after(*conditions: Any) -> Statement:
    """Jobs of a session, by ascending ids."""
    where = and_(_job.session == bindparam("of_session"), _job.id > bindparam("after"), *conditions)
    return _statement(select(_job.id).where(where).order_by(_job.id).limit(bindparam("most")))


def _oldest(*conditions: Any) -> Statement:
    where = and_(HAS_ENDED, *conditions)
    return _statement(
        select(_job.id).where(where).order_by(_job.ended, _job.id).limit(bindparam("most"))
    )


_BACKLOG: Final = _ids_after(UNTAKEN)
_ORPHANS: Final = _ids_after(ORPHAN)
_OLDEST: Final = {False: _oldest(UNTAKEN), True: _oldest(TAKEN)}


class Reader:
    """Reads jobs and outcomes, and says which of them are damaged."""

    def __init__(self, file: SqliteFile, rows: Rows, specs: Specs, ledger: Ledger) -> None:
        self._file = file
        self._rows = rows
        self._specs = specs
        self._ledger = ledger
        self.damaged: set[int] = set()
        """Jobs that were found to be damaged; the first ``NAMED`` of them."""

    def answer(self, question: Question) -> Slices[Found]:
        """What the scheduler asks for."""
        ids: Sequence[JobId]
        if isinstance(question, ByKeys):
            ids = yield from self._by_keys(question)
        else:
            ids = self._ids(question)
        lost: list[KeptJob] = []
        rows = yield from self._known(ids, lost)
        if lost:
            raise StoreBroken(f"the store is damaged: {lost[0].damage}")
        if isinstance(question, ByIds):
            ids = [job.id for job in rows]
        return Found(ids, rows)

    def jobs(self, ids: Sequence[JobId]) -> Slices[list[KeptJob]]:
        """These jobs, those that are known, by ascending ids; one that is lost is damaged."""
        lost: list[KeptJob] = []
        rows = yield from self._known(ids, lost)
        return sorted([*rows, *lost], key=attrgetter("id")) if lost else rows

    def _known(self, ids: Sequence[JobId], lost: list[KeptJob]) -> Slices[list[KeptJob]]:
        """Those that are here; ``lost`` gets those that are neither here nor forgotten."""
        found: list[KeptJob] = []
        for count, part in enumerate(slices(sorted(set(ids))), 1):
            rows = self.jobs_of(part)
            found += rows
            # before others have their turn: they may add jobs, and forget some
            missing = self._ledger.lost(_others(part, [job.id for job in rows]))
            lost += [self._told(self._rows.lost(number)) for number in missing]
            if count % STATEMENTS == 0:
                yield
        return found

    def _told(self, job: KeptJob) -> KeptJob:
        """A damaged job is told about, once."""
        if job.id not in self.damaged and len(self.damaged) < NAMED:
            self.damaged.add(job.id)
            _log.critical("{damage}", damage=job.damage)
        return job

    def parts(self, ids: Sequence[int]) -> Iterator[list[KeptJob]]:
        """The same, slice by slice."""
        return (self.jobs_of(part) for part in slices(ids))

    def jobs_of(self, ids: Sequence[int]) -> list[KeptJob]:
        """At most ``IDS`` jobs."""
        (part,) = slices(ids)
        return [self._kept(row) for row in self._file.rows_of(_JOBS, part)]

    def _kept(self, row: Row) -> KeptJob:
        digest = row[_SPEC]
        known = self._specs.get(digest) if type(digest) is bytes else None
        job = self._rows.kept(row[:-2], known, row[-2], row[-1])
        return self._told(job) if job.damage else job

    def outcomes(self, ids: Sequence[JobId]) -> Slices[list[Stored | None]]:
        """What is kept of these jobs' ends, in their order."""
        found: dict[int, Stored] = {}
        for part in slices(ids):
            rows = self._file.rows_of(_OUTCOMES, part)
            for number, state, *outcome, ended in rows:
                if outcome[0] is not None or ended is not None:
                    found[number] = stored(number, state, tuple(outcome))
            for number in self._ledger.lost(_others(part, [row[0] for row in rows])):
                found[number] = lost_outcome(number)
            yield
        return [found.get(number) for number in ids]

    # -- which jobs -------------------------------------------------------------------------------

    def _ids(self, question: ByIds | Backlog | Orphans | Oldest) -> Sequence[JobId]:
        match question:
            case ByIds(jobs):
                return jobs
            case Oldest(taken, limit):
                return _ids(self._file.rows(_OLDEST[taken], most=limit))
            case Backlog(session, after, limit):
                asked = _BACKLOG
            case Orphans(session, after, limit):
                asked = _ORPHANS
        return _ids(self._file.rows(asked, of_session=session, after=after, most=limit))

    def _by_keys(self, question: ByKeys) -> Slices[list[JobId]]:
        ids: list[JobId] = []
        for keys in _parts(question.keys):
            ids += _ids(self._file.rows_of(_BY_KEYS, [question.client, *keys]))
            yield
        return ids


_SPEC: Final = ADDED.index("spec")


def _ids(rows: Iterable[Row]) -> list[JobId]:
    return [JobId(row[0]) for row in rows]


def _others(ids: Sequence[int], found: Sequence[int]) -> list[int]:
    """Those of these ids that were not found; some stand there more than once."""
    return [] if len(found) == IDS else sorted(set(ids).difference(found))


def _parts(keys: Sequence[str]) -> Iterator[list[str]]:
    for start in range(0, len(keys), IDS):
        part = list(keys[start : start + IDS])
        yield part + part[-1:] * (IDS - len(part))
