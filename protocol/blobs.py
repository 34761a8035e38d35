"""Values on disk, each in a file named by the SHA-256 of its bytes.

The index is in memory, so that ``has`` touches no disk; everything that does happens in threads.
What is done to one blob is done in order, and a file appears under its name only when it is
complete and its hash was verified.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, DeferredLock, fail, succeed

from .errors import Malformed, NoSuchBlob, QueueFull
from .jobs import BlobRef

DeferToThread = Callable[..., Deferred[Any]]
"""As ``deferToThread``: calls a function with its arguments in a thread."""

_PART = ".part"
_COPY_BYTES = 1024 * 1024


class _Upload:
    """The beginning of a blob: what is hashed so far is in the file."""

    __slots__ = ("hash", "touched", "written")

    def __init__(self) -> None:
        self.hash = hashlib.sha256()
        self.written = 0
        self.touched = True


class BlobFolder:
    """A folder of blobs, 0700, with files of 0600."""

    def __init__(self, folder: Path, defer_to_thread: DeferToThread) -> None:
        self.folder = folder
        self._defer = defer_to_thread
        self._sizes: dict[bytes, int] = {}
        self._uploads: dict[bytes, _Upload] = {}
        self._locks: dict[bytes, tuple[DeferredLock, int]] = {}

    def start(self) -> Deferred[None]:
        """Make the folder, remove half uploads, and read what is there."""
        return self._defer(_scan, self.folder).addCallback(self._sizes.update)

    # -- what is there ----------------------------------------------------------------------------

    def has(self, digest: bytes) -> bool:
        """Whether a blob is here, whole."""
        return digest in self._sizes

    def digests(self) -> Iterable[bytes]:
        """Every blob that is here."""
        return self._sizes.keys()

    def path(self, ref: BlobRef) -> Path:
        """The file of a blob, not to be written to.

        Raises:
            NoSuchBlob: it is not here, or has another size.
        """
        if self._sizes.get(ref.digest) != ref.size:
            raise NoSuchBlob
        return self._path(ref.digest)

    def read(self, digest: bytes, offset: int, size: int) -> Deferred[bytes]:
        """Up to ``size`` bytes from ``offset``. Fails with ``NoSuchBlob``."""
        if digest not in self._sizes:
            return fail(NoSuchBlob())
        return self._defer(_read, self._path(digest), offset, size)

    def hash_file(self, path: Path) -> Deferred[BlobRef]:
        """What a file would be as a blob."""
        return self._defer(_hash, path)

    # -- what comes and goes ----------------------------------------------------------------------

    def write(self, ref: BlobRef, offset: int, data: bytes) -> Deferred[bool]:
        """Take the next chunk of a blob; fires with True when the blob is complete.

        A chunk that is here already is passed over, so that several peers may send one blob at
        the same time. Fails with ``Malformed`` where a chunk before it is missing or the hash is
        wrong, and with ``QueueFull`` where the disk is.
        """
        return self._in_order(ref.digest, self._write, ref, offset, data)

    def adopt(self, ref: BlobRef, path: Path, move: bool) -> Deferred[None]:
        """Store a file of this machine; with ``move`` it is taken, else copied and verified."""
        return self._in_order(ref.digest, self._adopt, ref, path, move)

    def remove(self, digest: bytes) -> Deferred[None]:
        """Forget a blob, at once, and delete its file."""
        self._sizes.pop(digest, None)
        return self._in_order(digest, self._remove, digest)

    def drop_stale_uploads(self) -> None:
        """Remove the uploads to which nothing was added since the last time."""
        for digest, upload in list(self._uploads.items()):
            if upload.touched:
                upload.touched = False
            else:
                self._in_order(digest, self._drop, digest, upload)

    def _write(self, ref: BlobRef, offset: int, data: bytes) -> Deferred[bool]:
        digest = ref.digest
        if digest in self._sizes:
            return succeed(True)
        upload = self._uploads.setdefault(digest, _Upload())
        upload.touched = True
        end = offset + len(data)
        if offset > upload.written or end > ref.size:
            return fail(Malformed(f"a chunk at {offset}, after {upload.written} of {ref.size}"))
        part = self._path(digest).with_suffix(_PART)
        fresh = data[upload.written - offset :]
        written = self._defer(_append, upload, part, fresh, ref, self._path(digest))
        return written.addCallbacks(self._written, self._not_written, (ref,), {}, (digest,))

    def _written(self, complete: bool, ref: BlobRef) -> bool:
        if complete:
            del self._uploads[ref.digest]
            self._sizes[ref.digest] = ref.size
        return complete

    def _not_written(self, failure: Any, digest: bytes) -> Any:
        del self._uploads[digest]
        self._path(digest).with_suffix(_PART).unlink(missing_ok=True)
        return failure

    def _adopt(self, ref: BlobRef, path: Path, move: bool) -> Deferred[None]:
        if ref.digest in self._sizes:
            return self._defer(path.unlink, True) if move else succeed(None)
        adopt = _take if move else _copy
        adopted = self._defer(adopt, path, self._path(ref.digest), ref)
        return adopted.addCallback(lambda _: self._sizes.__setitem__(ref.digest, ref.size))

    def _remove(self, digest: bytes) -> Deferred[None]:
        if digest in self._sizes:  # it came again
            return succeed(None)
        return self._defer(self._path(digest).unlink, True)

    def _drop(self, digest: bytes, upload: _Upload) -> Deferred[None]:
        if self._uploads.get(digest) is not upload or upload.touched:
            return succeed(None)
        del self._uploads[digest]
        return self._defer(self._path(digest).with_suffix(_PART).unlink, True)

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


# -- in threads ------------------------------------------------------------------------------------


def _scan(folder: Path) -> dict[bytes, int]:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.chmod(0o700)
    sizes = {}
    for path in folder.iterdir():
        if path.suffix == _PART:
            path.unlink()
        elif len(path.name) == 64:
            sizes[bytes.fromhex(path.name)] = path.stat().st_size
    return sizes


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _append(upload: _Upload, part: Path, data: bytes, ref: BlobRef, path: Path) -> bool:
    """Add a chunk to a half upload; True when that completes the blob."""
    mode = "ab" if upload.written else "wb"
    with _disk_errors(), open(part, mode, buffering=0, opener=_private) as file:
        _write_all(file, data)
    upload.hash.update(data)
    upload.written += len(data)
    if upload.written < ref.size:
        return False
    _verify(upload.hash.digest(), upload.written, ref)
    part.replace(path)
    return True


def _write_all(file: Any, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[file.write(view) :]


def _take(source: Path, path: Path, ref: BlobRef) -> None:
    """Move a file that this process has hashed itself."""
    size = source.stat().st_size
    if size != ref.size:
        raise Malformed(f"a value of {ref.size} bytes has {size}")
    with _disk_errors():
        source.chmod(0o600)
        shutil.move(source, path)


def _copy(source: Path, path: Path, ref: BlobRef) -> None:
    part = path.with_suffix(_PART)
    digest, size = hashlib.sha256(), 0
    try:
        with source.open("rb", buffering=0) as file, _disk_errors(), _open_new(part) as copy:
            while data := file.read(_COPY_BYTES):
                digest.update(data)
                size += len(data)
                _write_all(copy, data)
        _verify(digest.digest(), size, ref)
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def _open_new(path: Path) -> Any:
    return open(path, "wb", buffering=0, opener=_private)


def _verify(digest: bytes, size: int, ref: BlobRef) -> None:
    if digest != ref.digest or size != ref.size:
        raise Malformed("the bytes of a value do not have its hash")


class _disk_errors:  # noqa: N801 -- reads as what it is, a context
    """Turns a full disk into ``QueueFull``."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise QueueFull(f"the disk is full: {error}") from error


def _read(path: Path, offset: int, size: int) -> bytes:
    try:
        with path.open("rb", buffering=0) as file:
            file.seek(offset)
            return file.read(size)
    except FileNotFoundError:
        raise NoSuchBlob from None


def _hash(path: Path) -> BlobRef:
    with path.open("rb", buffering=0) as file:
        digest = hashlib.file_digest(file, "sha256")
        return BlobRef(digest.digest(), file.tell())
