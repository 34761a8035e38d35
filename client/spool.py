"""Values too large for a frame, on their way out: files in a folder of the pool's own, by hash."""

from __future__ import annotations

import hashlib
import os
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

from twisted.internet import threads
from twisted.internet.defer import Deferred, gatherResults, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure

from ..protocol.buffers import write_in_parts
from ..protocol.jobs import BlobRef
from ..protocol.temporary import TemporaryFolder, remove_abandoned_meanwhile
from ..protocol.transfers import DeferToThread
from .buffers import LARGE, Pieces

T = TypeVar("T")


def threads_of(reactor: Any) -> DeferToThread:
    """The way to the threads of a reactor."""

    def defer(function: Callable[..., Any], *arguments: Any) -> Deferred[Any]:
        pool = reactor.getThreadPool()
        return threads.deferToThreadPool(reactor, pool, function, *arguments)

    return defer


class Spool:
    """What may have to be sent, or sent again: until it is released as often as it was kept.

    Bytes are hashed and written in a thread; the folder appears with the first value.
    """

    _log = Logger()

    def __init__(self, defer_to_thread: DeferToThread) -> None:
        self._defer_to_thread = defer_to_thread
        self._temporary: TemporaryFolder | None = None
        self._kept: Counter[bytes] = Counter()
        self._unwritten: dict[bytes, bytes] = {}
        self._closed = False

    @property
    def folder(self) -> Path:
        """Blocking for a moment, once: makes the folder, which nobody else can read."""
        return self._open().path

    def _open(self) -> TemporaryFolder:
        if self._temporary is None:
            self._temporary = TemporaryFolder("client-")
            remove_abandoned_meanwhile()  # who leaves folders behind is one that makes them
        return self._temporary

    def keep(self, ref: BlobRef, data: bytes) -> None:
        """Bytes whose hash is known; they are written when they are first asked for."""
        self._kept[ref.digest] += 1
        if self._kept[ref.digest] == 1:
            self._unwritten[ref.digest] = data

    def add(self, data: bytes | Pieces) -> Deferred[BlobRef]:
        """Hash and write; fails with OSError."""
        return self._write(data).addCallback(self._added)

    def _added(self, ref: BlobRef) -> BlobRef:
        self._kept[ref.digest] += 1
        return ref

    def _write(self, data: bytes | Pieces, ref: BlobRef | None = None) -> Deferred[BlobRef]:
        folder = self._open()
        writing: Deferred[BlobRef] = self._defer_to_thread(_write, folder.path, data, ref)
        return writing.addBoth(self._was_written, folder)

    def _was_written(self, result: T, folder: TemporaryFolder) -> T:
        if self._closed:  # perhaps while that was removed
            self._temporary = None
            self._in_thread(folder.remove)
        return result

    def file(self, ref: BlobRef) -> Deferred[Path]:
        """The file of a value that is kept; fails with OSError."""
        data = self._unwritten.get(ref.digest)
        if data is None:
            return succeed(_path(self.folder, ref.digest))
        return self._write(data, ref).addCallback(self._written)

    def _written(self, ref: BlobRef) -> Path:
        self._unwritten.pop(ref.digest, None)
        return _path(self.folder, ref.digest)

    def hand_over(
        self, refs: Sequence[BlobRef], put: Callable[[BlobRef, Path], Deferred[None]]
    ) -> Deferred[list[None]]:
        """``put`` the files of these values; fails with the first error."""

        async def one(ref: BlobRef) -> None:
            await put(ref, await self.file(ref))

        all_of_them = [Deferred.fromCoroutine(one(ref)) for ref in refs]
        return gatherResults(all_of_them, consumeErrors=True).addErrback(_first_error)

    def release(self, ref: BlobRef) -> None:
        """The value need not be sent again by who kept it."""
        self._kept[ref.digest] -= 1
        if self._kept[ref.digest] > 0:
            return
        del self._kept[ref.digest]
        if self._unwritten.pop(ref.digest, None) is None and self._temporary is not None:
            self._in_thread(_remove, _path(self.folder, ref.digest))

    def close(self) -> Deferred[None]:
        """Remove everything."""
        self._closed = True
        self._unwritten.clear()
        folder, self._temporary = self._temporary, None
        return succeed(None) if folder is None else self._in_thread(folder.remove)

    def _in_thread(self, function: Callable[..., Any], *arguments: Any) -> Deferred[None]:
        done: Deferred[None] = self._defer_to_thread(function, *arguments)
        return done.addErrback(
            lambda failure: self._log.warn("a temporary file stays: {e}", e=failure.value)
        )


def _first_error(failure: Failure) -> Failure:
    inner = getattr(failure.value, "subFailure", failure)
    assert isinstance(inner, Failure)
    return inner


def _path(folder: Path, digest: bytes) -> Path:
    return folder / digest.hex()


def _write(folder: Path, data: bytes | Pieces, ref: BlobRef | None = None) -> BlobRef:
    """Blocking. A small value that is there already stays."""
    pieces = data if isinstance(data, Pieces) else (data,)
    if ref is None and len(data) < LARGE:
        ref = BlobRef(hashlib.sha256(b"".join(pieces)).digest(), len(data))
    if ref is not None and _path(folder, ref.digest).exists():
        return ref
    handle, name = tempfile.mkstemp(dir=folder)
    try:
        with os.fdopen(handle, "wb") as file:
            if ref is None:
                ref = BlobRef(_written_and_hashed(file, pieces), len(data))
            else:
                file.writelines(pieces)
        Path(name).replace(_path(folder, ref.digest))
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    return ref


def _written_and_hashed(file: BinaryIO, pieces: Iterable[bytes]) -> bytes:
    """Both at once: neither holds the interpreter's lock while it is about a large piece."""
    digest = hashlib.sha256()
    for piece in pieces:
        if len(piece) < LARGE:
            digest.update(piece)
            file.write(piece)
            continue
        hashing = threading.Thread(target=digest.update, args=(piece,))
        hashing.start()
        try:
            write_in_parts(file, piece)
        finally:
            hashing.join()
    return digest.digest()


def _remove(path: Path) -> None:
    path.unlink(missing_ok=True)
