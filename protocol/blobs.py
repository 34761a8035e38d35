"""Values on disk, each in a file named by the SHA-256 of its bytes.

The index is in memory, so that ``has`` touches no disk; everything that does happens in threads.
What is done to one blob is done in order, and a file appears under its name only when it is
complete and its hash was verified. One that an earlier process left is verified when it is first
used, and dropped where it is damaged.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from itertools import count
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, DeferredLock, fail, succeed
from twisted.python.failure import Failure

from . import blobfiles
from .blobfiles import Stamp, SyncFailed, Upload
from .errors import Damaged, Malformed, NoSuchBlob
from .fairness import FairGate
from .jobs import BlobRef

DeferToThread = Callable[..., Deferred[Any]]
"""As ``deferToThread``: calls a function with its arguments in a thread."""

_Sending = tuple[bytes, Hashable]
"""A digest, and who sends its bytes."""


CHUNKS_AT_ONCE = 16
CHUNKS_OF_ONE = 8
"""Chunks that are read or written at once, and those of one peer: the threads have other work."""


class BlobFolder:
    """A folder of blobs, 0700, with files of 0600.

    With ``durable``, a blob is on the disk before it is said to be here; a folder that is removed
    with its process needs no such care.
    """

    def __init__(
        self,
        folder: Path,
        defer_to_thread: DeferToThread,
        *,
        durable: bool = True,
        alone: bool = False,
    ) -> None:
        """``alone``: its files have no second name elsewhere, since their rights will change."""
        self.folder = folder
        self.on_broken: Callable[[SyncFailed], object] = lambda _: None
        """Called after a sync that failed, and before whoever asked for it is told."""
        self._defer = defer_to_thread
        self._durable = durable
        self._links = not (durable or alone)
        self._sizes: dict[bytes, int] = {}
        self._verified: dict[bytes, Stamp] = {}
        self._uploads: dict[_Sending, Upload] = {}
        self._parts = count()
        self._locks: dict[bytes, tuple[DeferredLock, int]] = {}
        self.turns = FairGate(CHUNKS_AT_ONCE, CHUNKS_OF_ONE)
        """Chunks from and to peers, in the threads at once."""

    def start(self) -> Deferred[None]:
        """Make the folder, remove half uploads, and read what is there."""
        scanned = self._defer(blobfiles.scan, self.folder, self._durable)
        return scanned.addCallback(self._sizes.update)

    # -- what is there ----------------------------------------------------------------------------

    def has(self, digest: bytes) -> bool:
        """Whether a blob is here, whole."""
        return digest in self._sizes

    def half_sent(self) -> set[bytes]:
        """Every blob of which somebody has sent some."""
        return {digest for digest, _ in self._uploads}

    def digests(self) -> Iterable[bytes]:
        """Every blob that is here."""
        return self._sizes.keys()

    def file(self, ref: BlobRef) -> Path:
        """The file of a blob that has come in this process, not to be written to.

        Raises:
            NoSuchBlob: it is not here, or has another size.
        """
        if self._sizes.get(ref.digest) != ref.size:
            raise NoSuchBlob
        return self._path(ref.digest)

    def path(self, ref: BlobRef) -> Deferred[Path]:
        """The file of a blob, verified; not to be written to.

        Fails with ``NoSuchBlob``, and with ``Damaged``: then the blob is here no longer.
        """
        return self._in_order(ref.digest, self._check, ref.digest).addCallback(
            lambda _: self.file(ref)
        )

    def read(self, digest: bytes, offset: int, size: int) -> Deferred[bytes]:
        """Up to ``size`` bytes from ``offset``. Fails as ``path``."""
        if digest in self._verified:
            return self._defer(blobfiles.read, self._path(digest), offset, size)
        checked = self._in_order(digest, self._check, digest)
        return checked.addCallback(
            lambda _: self._defer(blobfiles.read, self._path(digest), offset, size)
        )

    def doubt(self, digest: bytes) -> None:
        """Somebody got other bytes than those of this blob: verify it before it is used again."""
        self._verified.pop(digest, None)

    def hash_file(self, path: Path) -> Deferred[BlobRef]:
        """What a file would be as a blob."""
        return self._defer(blobfiles.hash_file, path)

    def _check(self, digest: bytes) -> Deferred[None]:
        if digest not in self._sizes:
            return fail(NoSuchBlob())
        known = self._verified.get(digest)
        checked = self._defer(blobfiles.check, self._path(digest), digest, known)
        return checked.addCallbacks(self._here, self._not_here, (digest,), {}, (digest,))

    def _here(self, stamp: Stamp, digest: bytes) -> None:
        self._verified[digest] = stamp
        self._sizes[digest] = stamp.size

    def _not_here(self, failure: Failure, digest: bytes) -> Failure:
        if failure.check(Damaged, NoSuchBlob):
            self._sizes.pop(digest, None)
            self._verified.pop(digest, None)
        return failure

    # -- what comes and goes ----------------------------------------------------------------------

    def write(
        self, ref: BlobRef, offset: int, data: bytes, sender: Hashable = None
    ) -> Deferred[bool]:
        """Take the next chunk of a blob; fires with True when the blob is complete.

        A chunk that is here already is passed over. With a ``sender``, True says that all of its
        bytes came from this one: each has an upload of its own, and what is here already is
        hashed all the same, and not written again. Fails with ``Malformed`` where a chunk before
        it is missing, ``WrongBytes`` where the hash is not that of the reference, ``StorageFull``
        where the disk is full.
        """
        return self._in_order(ref.digest, self._write, ref, offset, data, sender)

    def adopt(self, ref: BlobRef, path: Path, move: bool) -> Deferred[None]:
        """Store a file of this machine; with ``move`` it is taken, else copied and verified.

        Fails as ``write``; the file is left alone then.
        """
        return self._in_order(ref.digest, self._adopt, ref, path, move)

    def offered(
        self, ref: BlobRef, source: Path, sender: Hashable, owner: Hashable = None
    ) -> Deferred[bool]:
        """Take a file that a process of the same user offers: a second name of it, verified.

        It is read, and not written. Where the blob is here already, that shows that the sender has
        it. Fires with False where it cannot be had in this way, fails as ``write``. ``owner``:
        whose turn it is, while it is read.
        """
        return Deferred.fromCoroutine(self._offered(ref, source, sender, owner))

    def link(self, ref: BlobRef, source: Path) -> Deferred[bool]:
        """Take a verified file of another process of the same user, by a second name.

        Fires with False where it cannot be had in this way: into a folder that is durable, or whose
        files are its own alone, never.
        """
        return self._in_order(ref.digest, self._link, ref, source)

    def remove(self, digest: bytes) -> Deferred[None]:
        """Forget a blob, at once, and delete its file."""
        self._sizes.pop(digest, None)
        self._verified.pop(digest, None)
        return self._in_order(digest, self._remove, digest)

    def drop_stale_uploads(self) -> None:
        """Remove the uploads to which nothing was added since the last time."""
        for sending, upload in list(self._uploads.items()):
            if upload.touched:
                upload.touched = False
            else:
                self._in_order(sending[0], self._drop, sending, upload)

    def drop_uploads(self, sender: Hashable) -> None:
        """Remove what this one has begun to send, and will not end."""
        for sending, upload in list(self._uploads.items()):
            if sending[1] == sender:
                upload.touched = False
                self._in_order(sending[0], self._drop, sending, upload)

    def _write(self, ref: BlobRef, offset: int, data: bytes, sender: Hashable) -> Deferred[bool]:
        digest, sending = ref.digest, (ref.digest, sender)
        here = digest in self._sizes
        if here and sender is None:
            return succeed(True)
        upload = self._uploads.get(sending) or Upload(self._part(digest))
        if upload.offered:
            return fail(Malformed("chunks of a value whose file was offered"))
        end = offset + len(data)
        if offset > upload.written or end > ref.size:
            return fail(Malformed(f"a chunk at {offset}, after {upload.written} of {ref.size}"))
        self._uploads[sending] = upload
        upload.touched = True
        fresh = data[upload.written - offset :]
        if here or upload.shown:
            shown = self._defer(blobfiles.compare, upload, ref, fresh)
            return shown.addCallbacks(self._shown, self._not_written, (sending,), {}, (sending,))
        written = self._defer(
            blobfiles.append, upload, self._path(digest), ref, fresh, self._durable
        )
        return written.addCallbacks(self._written, self._not_written, (sending,), {}, (sending,))

    async def _offered(self, ref: BlobRef, source: Path, sender: Hashable, owner: Hashable) -> bool:
        sending = (ref.digest, sender)
        upload = Upload(self._part(ref.digest))
        if not await self._in_order(ref.digest, self._begin_offered, upload, ref, source, sending):
            return False
        complete = False
        while not complete:
            complete = await self.turns.run(
                owner,
                lambda: self._in_order(ref.digest, self._verify_some, upload, ref, sending),
            )
        return True

    def _begin_offered(
        self, upload: Upload, ref: BlobRef, source: Path, sending: _Sending
    ) -> Deferred[bool]:
        given_up = self._uploads.get(sending)

        def linked(stamp: Stamp) -> bool:
            upload.offered = stamp
            return True

        def not_linked(failure: Failure) -> bool:
            del self._uploads[sending]
            failure.trap(OSError, ValueError)
            return False

        self._uploads[sending] = upload
        linking = self._defer(
            blobfiles.offered, source, upload.part, ref, given_up and given_up.part
        )
        return linking.addCallbacks(linked, not_linked)

    def _verify_some(self, upload: Upload, ref: BlobRef, sending: _Sending) -> Deferred[bool]:
        if self._uploads.get(sending) is not upload:
            return fail(Malformed("who has offered a file is gone"))
        upload.touched = True
        keep = ref.digest not in self._sizes
        verified = self._defer(
            blobfiles.verify_some, upload, self._path(ref.digest), ref, keep, self._durable
        )
        done = self._written if keep else self._compared
        return verified.addCallbacks(done, self._not_written, (sending,), {}, (sending,))

    def _compared(self, stamp: Stamp | None, sending: _Sending) -> bool:
        return self._shown(stamp is not None, sending)

    def _link(self, ref: BlobRef, source: Path) -> Deferred[bool]:
        if ref.digest in self._sizes or not self._links:
            return succeed(ref.digest in self._sizes)

        def here(stamp: Stamp) -> bool:
            self._here(stamp, ref.digest)
            return True

        part, path = self._part(ref.digest), self._path(ref.digest)
        linking = self._defer(blobfiles.linked, source, part, path, ref)
        return linking.addCallbacks(here, _cannot_be_had)

    def _part(self, digest: bytes) -> Path:
        """A name for the file of one upload."""
        return self._path(digest).with_suffix(f".{next(self._parts)}{blobfiles.PART}")

    def _written(self, stamp: Stamp | None, sending: _Sending) -> bool:
        if stamp is None:
            return False
        del self._uploads[sending]
        self._here(stamp, sending[0])
        return True

    def _shown(self, complete: bool, sending: _Sending) -> bool:
        if complete:
            del self._uploads[sending]
        return complete

    def _not_written(self, failure: Failure, sending: _Sending) -> Failure:
        del self._uploads[sending]
        return self._broken_by(failure)

    def _broken_by(self, failure: Failure) -> Failure:
        if isinstance(failure.value, SyncFailed):
            self.on_broken(failure.value)
        return failure

    def _adopt(self, ref: BlobRef, path: Path, move: bool) -> Deferred[None]:
        if ref.digest in self._sizes:
            return self._defer(path.unlink, True) if move else succeed(None)
        adopt = blobfiles.take if move else blobfiles.copy
        adopted = self._defer(adopt, path, self._path(ref.digest), ref, self._durable)
        return adopted.addCallbacks(self._here, self._broken_by, (ref.digest,))

    def _remove(self, digest: bytes) -> Deferred[None]:
        if digest in self._sizes:  # it came again
            return succeed(None)
        return self._defer(self._path(digest).unlink, True)

    def _drop(self, sending: _Sending, upload: Upload) -> Deferred[None]:
        if self._uploads.get(sending) is not upload or upload.touched:
            return succeed(None)
        del self._uploads[sending]
        return self._defer(upload.part.unlink, True)

    def _in_order(
        self, digest: bytes, work: Callable[..., Deferred[Any]], *arguments: Any
    ) -> Deferred[Any]:
        """Do this when all that was begun for the same blob is done."""
        lock, users = self._locks.get(digest, (DeferredLock(), 0))
        self._locks[digest] = (lock, users + 1)
        return lock.run(work, *arguments).addBoth(self._unlock, digest)

    def _unlock(self, result: Any, digest: bytes) -> Any:
        lock, users = self._locks[digest]
        if users == 1:
            del self._locks[digest]
        else:
            self._locks[digest] = (lock, users - 1)
        return result

    def _path(self, digest: bytes) -> Path:
        return self.folder / digest.hex()


def _cannot_be_had(failure: Failure) -> bool:
    failure.trap(OSError, ValueError)
    return False
