"""Records as rows, and rows as what is kept: pure, and the one place that knows their seals.

A seal is the CRC-32 of a row's values. A value that is read is one that was written, or its row is
said to be damaged; a row that stands for another id does not fit either.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Any, Final, NamedTuple
from zlib import crc32

import msgpack

from ..protocol.ids import Attempt, ClientId, GroupId, JobId, SessionId, WorkerId
from ..protocol.jobs import BlobRef, JobSpec, Payload
from ..protocol.outcomes import ENDINGS, Ending, Evidence, Outcome, pack_outcome
from ..protocol.packing import unpack_list
from ..protocol.ports import Accepted, WorkerInfo
from .kept import KeptJob, KeptWorker, Stored
from .records import GroupRecord, JobRecord, SessionRecord, WorkerRecord
from .schema import JOBS
from .transitions import END, STATE_NAMES

Row = tuple[Any, ...]

ADDED: Final = tuple(column.name for column in JOBS.c)
"""The columns of a whole job, in the order of the rows made here."""

PLAIN: Final = (
    "id",
    "client",
    "session",
    "spec",
    "group_id",
    "place",
    "submitted",
    "size",
    "fixed_seal",
    "state",
    "kept",
    "course",
    "changing_seal",
)
"""Those of a plain job: all others are empty."""

_TAKEN: Final = ADDED.index("taken")
CHANGING: Final = ("id", *ADDED[_TAKEN:])
"""The columns of an update."""

GIVEN: Final = ("id", "state", "course", "changing_seal")
"""Those of a job that is given to a worker: it has not ended. No index is touched by them."""

SUCCESS: Final = ("id", "state", "ended", "kept", "course", "changing_seal")
"""Those of a job that has succeeded: nobody has taken its outcome, nor run it again."""

ORPHANED: Final = 1

JOINED: Final = 1024
"""Bytes that are copied to have one checksum computed in place of two."""


def spec_digest(packed: bytes) -> bytes:
    """What a spec is found by."""
    return blake2b(packed, digest_size=16).digest()


class Known(NamedTuple):
    """What a spec's row says: its bytes, and how they read."""

    packed: bytes
    spec: JobSpec


class Rows:
    """Makes and reads rows; one of these for each thread that does."""

    def __init__(self) -> None:
        packer = msgpack.Packer(use_bin_type=True, unicode_errors="surrogatepass")
        self._pack = packer.pack

    def seal(self, values: Row) -> int:
        """The checksum of a row's values."""
        return crc32(self._pack(values))

    def sealed(self, *values: Any) -> Row:
        """A row with its seal behind it."""
        return (*values, crc32(self._pack(values)))

    def fits(self, row: Row) -> bool:
        """Whether a row's last value is the seal of the others."""
        return self._sound(row[:-1], row[-1])

    # -- jobs: what is written --------------------------------------------------------------------

    def added(self, job: JobRecord, digest: bytes, orphan: bool) -> Row:
        """A new job's row, by ``ADDED``."""
        payload, group = job.payload, job.group
        blob, blob_size = payload if isinstance(payload, BlobRef) else (None, None)
        fixed = (
            job.id,
            job.client.id,
            job.owner,
            digest,
            job.key,
            None if group is None else group.id,
            job.place,
            float(job.submitted),
            ORPHANED if orphan else None,
            len(payload) if blob is None else 0,
            blob,
            blob_size,
            job.retry_of,
        )
        return (*fixed, crc32(self._pack(fixed)), *self.changed(job)[1:])

    def plain(self, job: JobRecord, digest: bytes) -> Row:
        """The same for a plain job, by ``PLAIN``."""
        row = self.added(job, digest, False)
        return (*row[:4], *row[5:8], row[9], row[13], row[15], row[17], *row[19:])

    def changed(self, job: JobRecord) -> Row:
        """The id and the changing half, by ``CHANGING``."""
        attempt, worker = job.attempt, job.worker
        ended = None if job.ended is None else float(job.ended)
        course = self._pack(
            (
                job.id,
                job.state,
                ended,
                job.kept,
                job.retried,
                None if attempt is None else attempt[0],
                None if attempt is None else attempt[1],
                None if worker is None else worker.name,
                job.losses,
                job.failures,
                job.why,
                job.resume,
                job.began,
                job.seconds,
                job.blobs,
                job.story,
            )
        )
        taken = job.id if job.taken else None
        return (job.id, taken, job.state, ended, job.kept, job.retried, course, crc32(course))

    def given(self, job: JobRecord) -> Row:
        """The same, by ``GIVEN``."""
        number, _, state, _, _, _, course, seal = self.changed(job)
        return (number, state, course, seal)

    def success(self, job: JobRecord) -> Row:
        """The same, by ``SUCCESS``."""
        number, _, state, ended, kept, _, course, seal = self.changed(job)
        return (number, state, ended, kept, course, seal)

    # -- jobs: what is read -----------------------------------------------------------------------

    def damage(self, row: Row) -> str:
        """What is wrong with a job's row, by ``ADDED``; nothing, where it is sound."""
        if not self._sound(row[: _TAKEN - 1], row[_TAKEN - 1]):
            return "what was submitted does not fit its checksum"
        if type(row[-2]) is not bytes or crc32(row[-2]) != row[-1]:
            return "its state does not fit its checksum"
        if row[_TAKEN] not in (None, row[0]):
            return "the mark of its delivery is damaged"
        return ""

    def _sound(self, values: Row, seal: Any) -> bool:
        try:
            return bool(crc32(self._pack(values)) == seal)
        except (ValueError, TypeError, OverflowError):  # a number beyond 64 bits, say
            return False

    def kept(self, row: Row, known: Known | None, body: Any, body_seal: Any) -> KeptJob:
        """A job from its row, by ``ADDED``, its spec, and the row of its payload."""
        damage = self.damage(row)
        if damage:
            return _damaged(row, damage)
        course = msgpack.unpackb(row[-2], unicode_errors="surrogatepass")
        if course[:5] != [row[0], *row[_TAKEN + 1 : -2]]:
            return _damaged(row, "what it is found by is not its state")
        if known is None:
            return _damaged(row, "its spec is damaged or missing")
        size, blob = row[9], row[10]
        payload: Payload = b"" if blob is None else BlobRef(blob, row[11])
        if size:
            payload = body
            if type(body) is not bytes or payload_seal(row[0], body) != body_seal:
                return _damaged(row, "its payload does not fit its checksum")
        return _job(row, course, known, payload)

    def lost(self, number: int) -> KeptJob:
        """Stands for a job whose row is not found."""
        return _damaged((number, *[None] * (len(ADDED) - 1)), "it is not where it was stored")

    # -- the rest: what is written ----------------------------------------------------------------

    def group(self, group: GroupRecord) -> Row:
        return self.sealed(
            group.id,
            group.client.id,
            group.session,
            group.own,
            group.name,
            group.size,
            float(group.submitted),
        )

    def session(self, session: SessionRecord) -> Row:
        seen = self._pack(sorted(session.seen))
        return self.sealed(session.id, session.client.id, session.next_sequence, seen)

    def answer(self, session: SessionId, sequence: int, answer: Accepted) -> Row:
        packed = self._pack((answer.ids, answer.group, answer.missing, answer.warning))
        return self.sealed(session, sequence, packed)

    def worker(self, worker: WorkerRecord) -> Row:
        info = worker.info
        packed = self._pack(
            (
                info.name,
                info.incarnation,
                info.slots,
                info.python,
                info.host,
                info.software,
                info.pid,
            )
        )
        return self.sealed(worker.name, packed, int(worker.local), float(worker.since))


def _job(row: Row, course: list[Any], known: Known, payload: Payload) -> KeptJob:
    number, client, session, _, key, group, place, submitted = row[:8]
    _, state, ended, kept, retried, term, attempt, worker, losses, failures = course[:10]
    why, resume, began, seconds, blobs, story = course[10:16]
    deadline = known.spec.deadline
    return KeptJob(
        id=JobId(number),
        client=ClientId(client),
        session=session,
        spec=known.packed,
        payload=payload,
        key=key,
        group=group,
        place=place,
        submitted=submitted,
        state=state,
        attempt=None if attempt is None else Attempt(term, attempt),
        worker=worker,
        losses=losses,
        failures=failures,
        why=why,
        due=None if deadline is None else submitted + deadline,
        resume=resume,
        began=began,
        ended=ended,
        seconds=seconds,
        taken=row[_TAKEN] is not None,
        blobs=tuple(BlobRef(digest, size) for digest, size in blobs),
        kept=kept,
        retried=retried,
        retry_of=row[12],
        story=tuple((time, what, where) for time, what, where in story),
    )


def _damaged(row: Row, damage: str) -> KeptJob:
    """What a damaged row says, as far as it has the right types; only the id is sure."""

    def value(name: str, kind: type, otherwise: Any) -> Any:
        found = row[ADDED.index(name)]
        return found if type(found) is kind else otherwise

    state = value("state", int, 0)
    session = value("session", bytes, None)
    group = value("group_id", int, None)
    return KeptJob(
        id=JobId(row[0]),
        client=ClientId(value("client", str, "")),
        session=None if session is None else SessionId(session),
        spec=b"",
        payload=b"",
        key=value("key", str, None),
        group=None if group is None else GroupId(group),
        place=value("place", int, None),
        submitted=value("submitted", float, 0.0),
        state=state if 0 <= state < len(STATE_NAMES) else 0,
        attempt=None,
        worker=None,
        losses=0,
        failures=0,
        why=None,
        due=None,
        resume=None,
        began=None,
        ended=value("ended", float, None),
        seconds=0.0,
        taken=row[_TAKEN] is not None,
        blobs=(),
        kept=value("kept", int, 0),
        retried=value("retried", int, None),
        retry_of=value("retry_of", int, None),
        story=(),
        damage=f"job {row[0]} is damaged in the store: {damage}",
    )


def is_plain(job: JobRecord) -> bool:
    """Whether a new job has nothing in the columns that are not ``PLAIN``, its orphan's apart."""
    return (
        job.key is None
        and job.ended is None
        and type(job.payload) is bytes
        and job.retry_of is None
        and job.retried is None
        and not job.taken
    )


# -- payloads and outcomes ------------------------------------------------------------------------


def payload_seal(job: int, body: bytes) -> int:
    """The checksum of an inline payload."""
    return crc32(body, crc32(b"%d" % job))


def outcome_seal(job: int, ending: int, body: bytes, log: bytes) -> int:
    """The checksum of an outcome."""
    size = len(body)
    if size <= JOINED and not log:
        return crc32(b"%d %d %d%b" % (job, ending, size, body))
    return crc32(log, crc32(body, crc32(b"%d %d %d" % (job, ending, size))))


def stored(job: int, state: int, row: Row) -> Stored:
    """An outcome from its row ``(ending, body, log, seal)``, or one that says it is damaged."""
    ending, body, log, seal = row
    if ending is None:
        return _lost(job, "is missing")
    if type(body) is not bytes or type(log) is not bytes or ending not in ENDINGS:
        return _lost(job, "is damaged")
    if outcome_seal(job, ending, body, log) != seal:
        return _lost(job, "does not fit its checksum")
    if ending != state - END:
        return _lost(job, "and its state contradict each other")
    return Stored(ENDINGS[ending], body, log)


def lost_outcome(job: int) -> Stored:
    """Stands for the outcome of a job whose row is not found."""
    return _lost(job, "is not found, nor is the job")


def _lost(job: int, what: str) -> Stored:
    reason = f"the stored outcome of job {job} {what}: the disk, or somebody, has changed it"
    evidence = Evidence(reason=reason)
    return Stored(Ending.CRASHED, pack_outcome(Outcome(evidence=evidence)), b"")


# -- the rest: what is read -----------------------------------------------------------------------


def accepted(packed: bytes) -> Accepted:
    """A stored answer."""
    ids, group, missing, warning, *_later = unpack_list(packed)
    return Accepted(
        ids=tuple((first, count) for first, count in ids),
        group=group,
        missing=tuple(missing),
        warning=warning,
    )


def kept_worker(row: Row) -> KeptWorker:
    """A worker from its row."""
    name, packed, local, since, _ = row
    known = unpack_list(packed)
    info = WorkerInfo(
        name=known[0],
        incarnation=known[1],
        slots=known[2],
        python=known[3],
        host=known[4],
        software=known[5],
        pid=known[6],
    )
    return KeptWorker(WorkerId(name), info, bool(local), since)
