"""Blobs on a connection: values too large for a frame, in chunks, from disk to disk.

A transfer holds at most ``CHUNKS_IN_FLIGHT`` chunks in memory, whatever the size of the value.
Requests for the same blob on the same connection share one transfer, which ends early only when
the last of them is cancelled. A transfer that failed can be asked for again, on this connection
or on the next. The receiving ``BlobFolder`` verifies the hash; who has served a file that is
damaged looks at it again, and drops it.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Coroutine, Hashable
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary, WeakSet

from twisted.internet import threads
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from .blobfiles import SyncFailed, WrongBytes, damage
from .commands import GetChunk, GetFile, PutChunk, PutFile
from .errors import (
    AmpacityError,
    Damaged,
    Disconnected,
    Malformed,
    NoSuchBlob,
    NotAllowed,
    StorageFull,
)
from .jobs import BlobRef, blob_ref
from .limits import CHUNK_SIZE, CHUNKS_IN_FLIGHT
from .neighbours import is_same_user
from .responders import Responders

if TYPE_CHECKING:
    from .blobs import BlobFolder
    from .connection import Connection


DeferToThread = Callable[..., Deferred[Any]]
"""As ``twisted.internet.threads.deferToThread``: calls a function in a thread."""


def upload(
    connection: Connection,
    ref: BlobRef,
    path: Path,
    defer_to_thread: DeferToThread = threads.deferToThread,
) -> Deferred[None]:
    """Send a file as a blob; nothing is sent of what the other side has already.

    Fails with ``Malformed`` where the file's bytes are not those of the reference, ``OSError``
    where it cannot be read, ``StorageFull`` where the other side has no room.
    """
    return _shared(
        connection, ("put", ref.digest), lambda: _upload(connection, ref, path, defer_to_thread)
    )


def download(connection: Connection, ref: BlobRef, blobs: BlobFolder) -> Deferred[None]:
    """Fetch a blob into a folder, unless it is there.

    Fails with ``NoSuchBlob``; with ``Damaged`` where its bytes do not have its hash; with
    ``Malformed`` and, for want of room here, ``StorageFull``.
    """
    return _shared(connection, ("get", ref.digest), lambda: _download(connection, ref, blobs))


async def _upload(
    connection: Connection, ref: BlobRef, path: Path, defer_to_thread: DeferToThread
) -> None:
    if _by_file(connection, ref) and await _hand_over(connection, ref, path, defer_to_thread):
        return
    sent: deque[Deferred[dict[str, Any]]] = deque()
    have = False
    try:
        for offset in _offsets(ref):
            data = await defer_to_thread(_read, path, offset, _length(ref, offset))
            sent.append(
                connection.call(
                    PutChunk, digest=ref.digest, size=ref.size, offset=offset, data=data
                )
            )
            # the answer to the first chunk may save all the others
            if len(sent) == CHUNKS_IN_FLIGHT or offset == 0:
                have = (await sent.popleft())["have"]
                if have:
                    return
        while sent:
            have = (await sent.popleft())["have"]
    finally:
        _abandon(sent)
    if not have:
        raise Malformed("the other side has all bytes of a value and says that some are missing")


async def _download(connection: Connection, ref: BlobRef, blobs: BlobFolder) -> None:
    if blobs.has(ref.digest):
        return
    if _by_file(connection, ref) and await _take_over(connection, ref, blobs):
        return
    try:
        await _receive(connection, ref, blobs, again=False)
    except WrongBytes:
        # the other side has its file verified now, so that nobody is given these bytes again
        try:
            await _receive(connection, ref, blobs, again=True)
        except WrongBytes:
            raise Damaged(damage(ref.digest)) from None


async def _receive(connection: Connection, ref: BlobRef, blobs: BlobFolder, again: bool) -> None:
    asked: deque[tuple[int, Deferred[dict[str, Any]]]] = deque()
    offsets = _offsets(ref)
    complete = False

    def ask() -> None:
        offset = next(offsets, None)
        if offset is not None:
            doubt = {"again": True} if again and offset == 0 else {}
            answer = connection.call(GetChunk, digest=ref.digest, offset=offset, **doubt)
            asked.append((offset, answer))

    try:
        for _ in range(CHUNKS_IN_FLIGHT):
            ask()
        while asked and not complete:
            offset, answer = asked.popleft()
            data = (await answer)["data"]
            if len(data) != _length(ref, offset):
                raise Malformed(f"a chunk of {len(data)} bytes at {offset} of {ref.size}")
            complete = await blobs.write(ref, offset, data)
            ask()
    finally:
        _abandon(answer for _, answer in asked)
    if not complete:
        raise Malformed("a value was received and is not complete")


def _offsets(ref: BlobRef) -> Any:
    return iter(range(0, max(ref.size, 1), CHUNK_SIZE))


def _length(ref: BlobRef, offset: int) -> int:
    return min(CHUNK_SIZE, ref.size - offset)


def _read(path: Path, offset: int, size: int) -> bytes:
    """Blocking: part of a file. Raises Malformed: the file is too short."""
    with path.open("rb", buffering=0) as file:
        file.seek(offset)
        data = file.read(size)
    if len(data) != size:
        raise Malformed(f"{path} is shorter than the value that it should hold")
    return data


def _abandon(answers: Any) -> None:
    for answer in answers:
        answer.addErrback(lambda _failure: None)


# -- files in their place -------------------------------------------------------------------------


_WITHOUT_FILES: WeakSet[Connection] = WeakSet()
"""Connections whose other side gives and takes no files."""


def _by_file(connection: Connection, ref: BlobRef) -> bool:
    """Whether it is worth a question to have the file itself go over, by a second name."""
    large = ref.size > CHUNK_SIZE
    return large and connection not in _WITHOUT_FILES and is_same_user(connection)


async def _hand_over(
    connection: Connection, ref: BlobRef, path: Path, defer_to_thread: DeferToThread
) -> bool:
    name = os.fsencode(await defer_to_thread(_made_private, path))
    return bool(await _asked(connection, "have", PutFile, ref, path=name))


async def _take_over(connection: Connection, ref: BlobRef, blobs: BlobFolder) -> bool:
    """What comes is verified by the one who has named it, and never was anywhere else."""
    name = await _asked(connection, "path", GetFile, ref)
    return name is not None and await blobs.link(ref, Path(os.fsdecode(name)))


async def _asked(
    connection: Connection, answer: str, command: Any, ref: BlobRef, **arguments: Any
) -> Any:
    """None where the other side is an older one, or does not take us for its own user."""
    question = connection.call(command, digest=ref.digest, size=ref.size, **arguments)
    try:
        return (await question)[answer]
    except AmpacityError as e:
        if type(e) not in (AmpacityError, NotAllowed):
            raise
        _WITHOUT_FILES.add(connection)
        return None


def _made_private(path: Path) -> Path:
    """Blocking: a file as the values of others are kept, too; its path from the root."""
    path.chmod(0o600)
    return path.absolute()


# -- the side that serves them ---------------------------------------------------------------------


class BlobResponder(Responders):
    """Answers ``PutChunk`` and ``GetChunk`` from a folder; a mixin for a connection's locator."""

    blobs: BlobFolder
    _connection: Connection
    owner: Hashable = None
    """Who is on the other side: the chunks of different owners take turns."""

    def may_get(self, digest: bytes) -> bool:
        """Whether the other side may read a blob. For subclasses."""
        return True

    def has_sent(self, digest: bytes) -> bool:
        """Whether it need not be sent by the other side, if it is here. For subclasses."""
        return True

    def sent(self, digest: bytes) -> None:
        """The other side has sent every byte of a blob. For subclasses."""

    @PutChunk.responder
    async def _put_chunk(
        self, digest: bytes, size: int, offset: int, data: bytes
    ) -> dict[str, bool]:
        ref = blob_ref([digest, size])
        if self.has_sent(digest) and self.blobs.has(digest):
            return {"have": True}
        # from here on nothing tells whether it is here: who has not sent it learns nothing of it
        fits = offset % CHUNK_SIZE == 0 and 0 <= offset < max(size, 1)
        if not fits or len(data) != _length(ref, offset):
            raise Malformed(f"a chunk of {len(data)} bytes at {offset} of {size}")
        self.check_upload(ref)
        if offset == 0 and (full := self.no_room()):
            raise StorageFull(full)
        return await self._taken(
            digest,
            self.blobs.turns.run(self.owner, lambda: self.blobs.write(ref, offset, data, self)),
        )

    @PutFile.responder
    async def _put_file(self, digest: bytes, size: int, path: bytes) -> dict[str, bool]:
        ref = blob_ref([digest, size])
        self._check_same_user()
        if self.has_sent(digest) and self.blobs.has(digest):
            return {"have": True}
        self.check_upload(ref)
        if full := self.no_room():
            raise StorageFull(full)
        source = Path(os.fsdecode(path))
        if not source.is_absolute():
            raise Malformed("the path of a file begins at the root")
        try:
            return await self._taken(digest, self.blobs.offered(ref, source, self, self.owner))
        except WrongBytes:  # as where the other side's folders are others than ours
            return {"have": False}

    async def _taken(self, digest: bytes, taking: Deferred[bool]) -> dict[str, bool]:
        try:
            have = await taking
        except SyncFailed as e:
            # this side has to end: to be sent again, when it is back
            raise Disconnected(str(e)) from None
        if have:
            self.sent(digest)
        return {"have": have}

    def _check_same_user(self) -> None:
        connection: Connection | None = getattr(self, "_connection", None)
        if connection is None or not is_same_user(connection):
            raise NotAllowed("files go between processes of one user on one machine only")

    def check_upload(self, ref: BlobRef) -> None:
        """Raises what a chunk of this value is refused with. For subclasses."""

    def no_room(self) -> str:
        """Why no new value is taken, in a sentence; or nothing."""
        return ""

    def drop_uploads(self) -> None:
        """The other side is gone: what it has begun to send is dropped."""
        self.blobs.drop_uploads(self)

    @GetChunk.responder
    async def _get_chunk(
        self, digest: bytes, offset: int, again: bool | None = None
    ) -> dict[str, bytes]:
        if offset < 0 or not self.may_get(digest):
            raise NoSuchBlob
        if again:
            self.blobs.doubt(digest)
        read = self.blobs.turns.run(self.owner, lambda: self.blobs.read(digest, offset, CHUNK_SIZE))
        return {"data": await read}

    @GetFile.responder
    async def _get_file(self, digest: bytes, size: int) -> dict[str, bytes]:
        self._check_same_user()
        if not self.may_get(digest):
            raise NoSuchBlob
        ref = blob_ref([digest, size])
        path = await self.blobs.turns.run(self.owner, lambda: self.blobs.path(ref))
        return {"path": os.fsencode(path.absolute())}


# -- one transfer, many who wait for it -----------------------------------------------------------


class _Transfer:
    """The work, and a Deferred for each who asked for it."""

    __slots__ = ("_waiting", "_work")

    def __init__(self) -> None:
        self._waiting: list[Deferred[None]] = []
        self._work: Deferred[None] | None = None

    def start(self, work: Coroutine[Deferred[Any], Any, None]) -> Deferred[None]:
        """Fires, never failing, when the work has ended and everybody was told."""
        self._work = Deferred.fromCoroutine(work)
        return self._work.addBoth(self._tell)

    def wait(self) -> Deferred[None]:
        waiter: Deferred[None] = Deferred(self._leave)
        self._waiting.append(waiter)
        return waiter

    def _leave(self, waiter: Deferred[None]) -> None:
        self._waiting.remove(waiter)
        if not self._waiting and self._work is not None:
            self._work.cancel()

    def _tell(self, result: Failure | None) -> None:
        waiting, self._waiting = self._waiting, []
        for waiter in waiting:
            if isinstance(result, Failure):
                waiter.errback(result)
            else:
                waiter.callback(None)


_UNDER_WAY: WeakKeyDictionary[Connection, dict[tuple[str, bytes], _Transfer]] = WeakKeyDictionary()


def _shared(
    connection: Connection,
    what: tuple[str, bytes],
    work: Callable[[], Coroutine[Deferred[Any], Any, None]],
) -> Deferred[None]:
    transfers = _UNDER_WAY.setdefault(connection, {})
    transfer = transfers.get(what)
    if transfer is not None:
        return transfer.wait()
    transfer = transfers[what] = _Transfer()
    waiter = transfer.wait()
    transfer.start(work()).addBoth(lambda _: transfers.pop(what))
    return waiter
