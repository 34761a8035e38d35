"""What a coordinator has to know of its store before it serves, read once when it is opened.

A long queue is read as runs of ids. The rows of cold jobs are not verified here, that is done when
one is read as a whole; but a row whose state contradicts itself is not left to be found by chance.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from sqlalchemy import and_, func, not_, or_, select
from twisted.logger import Logger

from ..protocol.ids import ClientId, GroupId, JobId, SessionId
from ..protocol.packing import unpack_list
from ..protocol.ports import Accepted
from .kept import Holdings, KeptGroup, KeptJob, KeptSession, KeptWorker, QueuedRun, Remembered
from .reading import Reader
from .rows import Row, Rows, accepted, kept_worker
from .schema import ANSWERS, BLOBS, GROUPS, HAS_ENDED, JOBS, META, SESSIONS, WORKERS
from .specs import Specs
from .sqlite_file import DIALECT, SqliteFile
from .statements import Statement, selected
from .transitions import ENDED, QUEUED, STATE_NAMES
from .writing import ANSWERS_KEPT, FOR_GOOD

_log = Logger()

_job = JOBS.c
_QUEUED = and_(_job.state == QUEUED, _job.ended.is_(None))
_ENDED = and_(_job.state.between(ENDED, len(STATE_NAMES) - 1), HAS_ENDED)


def _statement(clause: Any) -> Statement:
    return Statement(clause, DIALECT)


_RUNS: Final = _statement(
    select(_job.id, _job.client, _job.spec, _job.submitted, _job.group_id)
    .where(_QUEUED)
    .order_by(_job.id)
)
_SIZES: Final = _statement(
    select(_job.client, func.sum(_job.size)).where(not_(HAS_ENDED)).group_by(_job.client)
)
# what contradicts itself, or is nothing at all, is neither
_LIVE: Final = _statement(
    select(_job.id).where(not_(func.coalesce(or_(_QUEUED, _ENDED), False))).order_by(_job.id)
)
_TALLY: Final = _statement(
    select(
        _job.client,
        _job.state,
        _job.group_id,
        _job.taken.is_not(None),
        _job.retried.is_(None),
        func.count(),
        func.sum(_job.kept),
        func.min(_job.id),
        func.max(_job.id),
    )
    .where(_ENDED)
    .group_by(
        _job.client, _job.state, _job.group_id, _job.taken.is_not(None), _job.retried.is_(None)
    )
)
_GROUPS: Final = _statement(selected(GROUPS).order_by(GROUPS.c.id))
_SESSIONS: Final = _statement(selected(SESSIONS))
_ANSWERS: Final = _statement(selected(ANSWERS).order_by(ANSWERS.c.session, ANSWERS.c.sequence))
_WORKERS: Final = _statement(selected(WORKERS))
_BLOBS: Final = _statement(selected(BLOBS))
META_ROW: Final = _statement(selected(META))


class _Tally:
    """Counts jobs, all of them and those of a group."""

    def __init__(self) -> None:
        self.counts = [0] * len(STATE_NAMES)
        self.jobs = 0
        self.first: JobId | None = None
        self.last: JobId | None = None

    def add(self, state: int, jobs: int, first: int, last: int, latest: bool = True) -> None:
        if latest:
            self.counts[state] += jobs
        self.jobs += jobs
        self.first = JobId(first if self.first is None else min(first, self.first))
        self.last = JobId(last if self.last is None else max(last, self.last))


class Remembering:
    """Reads a store as it was left."""

    def __init__(self, file: SqliteFile, rows: Rows, specs: Specs, reader: Reader) -> None:
        self._file = file
        self._rows = rows
        self._specs = specs
        self._reader = reader
        self._all = _Tally()
        self._clients: defaultdict[ClientId, int] = defaultdict(int)
        self._groups: defaultdict[GroupId, _Tally] = defaultdict(_Tally)
        self._kept = {True: [0, 0], False: [0, 0]}
        self._unfinished: defaultdict[ClientId, int] = defaultdict(int)
        self._untaken: defaultdict[ClientId, list[int]] = defaultdict(lambda: [0, 0])

    def remember(self, meta: Row) -> Remembered:
        """All of it."""
        queued = list(self._queued())
        live = self._live()
        self._ended()
        taken, untaken = self._kept[True], self._kept[False]
        shares = self._read_shares()
        return Remembered(
            next_job=meta[3],
            next_group=meta[4],
            counts=self._all.counts,
            jobs=dict(self._clients),
            pending_bytes=sum(share.pending_bytes for share in shares.values()),
            taken=(taken[0], taken[1]),
            untaken=(untaken[0], untaken[1]),
            groups=self._read_groups(),
            sessions=self._read_sessions(),
            workers=self._read_workers(),
            live=live,
            queued=queued,
            blobs=self._read_blobs(),
            shares=shares,
        )

    # -- jobs -------------------------------------------------------------------------------------

    def _queued(self) -> Iterator[QueuedRun]:
        last: QueuedRun | None = None
        for first, count, client, spec, submitted in self._islands():
            known = self._specs.get(spec)
            deadline = None if known is None else known.spec.deadline
            run = QueuedRun(
                JobId(first),
                count,
                client,
                None if known is None else known.spec.python,
                None if deadline is None else submitted + deadline,
            )
            if last is not None and last[2:] == run[2:] and last.first + last.jobs == first:
                last = last._replace(jobs=last.jobs + count)
                continue
            if last is not None:
                yield last
            last = run
        if last is not None:
            yield last

    def _islands(self) -> Iterator[tuple[int, int, ClientId, bytes, float]]:
        """Queued jobs with consecutive ids and the same columns."""
        found = self._file.connection.execute(_RUNS.sql, _RUNS.with_values())
        alike: tuple[Any, ...] | None = None
        first = expected = 0
        for number, *rest in found:
            if number == expected and rest == alike:
                expected += 1
                continue
            if alike is not None:
                yield self._island(first, expected - first, *alike)
            first, expected, alike = number, number + 1, rest
        if alike is not None:
            yield self._island(first, expected - first, *alike)

    def _island(
        self, first: int, count: int, client: str, spec: bytes, submitted: float, group: int | None
    ) -> tuple[int, int, ClientId, bytes, float]:
        self._count(ClientId(client), QUEUED, group, count, first, first + count - 1)
        return first, count, ClientId(client), spec, submitted

    def _live(self) -> list[KeptJob]:
        """Jobs that somebody works on, and those whose state contradicts itself."""
        ids = [JobId(row[0]) for row in self._file.rows(_LIVE)]
        live = [job for part in self._reader.parts(ids) for job in part]
        for job in live:
            self._count(job.client, job.state, job.group, 1, job.id, job.id, job.retried is None)
        return live

    def _ended(self) -> None:
        for client, state, group, taken, latest, jobs, kept, first, last in self._file.rows(_TALLY):
            self._count(ClientId(client), state, group, jobs, first, last, bool(latest))
            sums = self._kept[bool(taken)]
            sums[0] += jobs
            sums[1] += kept
            if not taken:
                own = self._untaken[ClientId(client)]
                own[0] += jobs
                own[1] += kept

    def _count(
        self,
        client: ClientId,
        state: int,
        group: int | None,
        jobs: int,
        first: int,
        last: int,
        latest: bool = True,
    ) -> None:
        self._all.add(state, jobs, first, last)
        self._clients[client] += jobs
        if state < ENDED:
            self._unfinished[client] += jobs
        if group is not None:
            self._groups[GroupId(group)].add(state, jobs, first, last, latest)

    def _read_shares(self) -> dict[ClientId, Holdings]:
        sizes = {ClientId(client): size or 0 for client, size in self._file.rows(_SIZES)}
        return {
            client: Holdings(self._unfinished[client], sizes.get(client, 0), (jobs, kept))
            for client in self._clients.keys() | sizes.keys()
            for jobs, kept in (self._untaken[client],)
        }

    # -- the rest ---------------------------------------------------------------------------------

    def _sound(self, statement: Statement, what: str) -> Iterator[Row]:
        for row in self._file.rows(statement):
            if self._rows.fits(row):
                yield row
            else:
                _log.error(
                    "the record of {what} {key!r} is damaged in the store and is left out",
                    what=what,
                    key=row[0],
                )

    def _read_groups(self) -> list[KeptGroup]:
        groups = []
        for number, client, session, own, name, size, submitted, _ in self._sound(
            _GROUPS, "the group"
        ):
            tally = self._groups.pop(number, None) or _Tally()
            groups.append(
                KeptGroup(
                    GroupId(number),
                    ClientId(client),
                    session,
                    own,
                    name,
                    size,
                    submitted,
                    tally.counts,
                    tally.jobs,
                    tally.first,
                    tally.last,
                )
            )
        rebuilt = [self._rebuilt(number, tally) for number, tally in self._groups.items()]
        return sorted([*groups, *rebuilt])

    def _rebuilt(self, number: GroupId, tally: _Tally) -> KeptGroup:
        """A group whose row is damaged, from its jobs: closed, and of no session's own."""
        assert tally.first is not None
        (job,) = self._reader.jobs_of([tally.first])
        return KeptGroup(
            number,
            job.client,
            job.session or SessionId(b""),
            0,
            None,
            sum(tally.counts),
            job.submitted,
            tally.counts,
            tally.jobs,
            tally.first,
            tally.last,
        )

    def _read_sessions(self) -> list[KeptSession]:
        answers: defaultdict[bytes, dict[int, Accepted]] = defaultdict(dict)
        for session, sequence, answer, _ in self._sound(_ANSWERS, "an answer to the session"):
            answers[session][sequence] = accepted(answer)
            answers[session].pop(sequence - ANSWERS_KEPT, None)
        return [
            KeptSession(
                SessionId(session), ClientId(client), following, unpack_list(seen), answers[session]
            )
            for session, client, following, seen, _ in self._sound(_SESSIONS, "the session")
        ]

    def _read_workers(self) -> list[KeptWorker]:
        return [kept_worker(row) for row in self._sound(_WORKERS, "the worker")]

    def _read_blobs(self) -> Mapping[bytes, int]:
        """A blob of which it is not known how often it is used is kept for good."""
        return {
            row[0]: row[1] if self._rows.fits(row) else FOR_GOOD for row in self._file.rows(_BLOBS)
        }


def spans(groups: Iterable[KeptGroup]) -> dict[GroupId, tuple[JobId, JobId]]:
    """Between which ids the known jobs of groups are."""
    return {
        group.id: (group.first, group.last)
        for group in groups
        if group.first is not None and group.last is not None
    }
