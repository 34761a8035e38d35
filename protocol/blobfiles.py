"""The files of blobs: written whole or not at all, synced, and verified. All of it blocks.

What is durable is written under a temporary name, synced, renamed, and the folder synced; only
then it may be said to be there. After a sync that failed nobody knows what is on the disk.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import stat
from collections.abc import Iterator
from io import FileIO
from pathlib import Path
from typing import NamedTuple

from .errors import Damaged, Malformed, NoSuchBlob, StorageFull
from .jobs import BlobRef

PART = ".part"
_COPY_BYTES = 1024 * 1024
_READ_BYTES = 256 * 1024  # they stay in the processor's own memory while they are hashed

VERIFIED_AT_ONCE = 8 * 1024 * 1024
"""Bytes of an offered file that are read before others have their turn."""

_FULL = (errno.ENOSPC, errno.EDQUOT)


class SyncFailed(OSError):
    """The disk did not keep what it was given: nothing that was written of late is certain."""


class WrongBytes(Malformed):
    """The bytes of a value do not have its hash."""


class Stamp(NamedTuple):
    """By what a file is known not to have been written to since it was verified."""

    size: int
    modified: int
    """Nanoseconds."""


class Upload:
    """The beginning of a blob, from one sender: what is hashed so far is in ``part``.

    Of a blob that is there already nothing is written: its sender shows that he has it.
    """

    __slots__ = ("hash", "offered", "part", "shown", "touched", "written")

    def __init__(self, part: Path) -> None:
        self.part = part
        self.offered: Stamp | None = None
        """``part`` is a second name of the sender's own file, as it was then: it is only read."""
        self.hash = hashlib.sha256()
        self.written = 0
        self.touched = True
        self.shown = False  # nothing is written, or not any more


def scan(folder: Path, durable: bool) -> dict[bytes, int]:
    """Make the folder, remove half uploads; the sizes of the blobs that are there, by digest."""
    make_folder(folder, durable)
    folder.chmod(0o700)
    sizes = {}
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.endswith(PART):
                Path(entry.path).unlink(missing_ok=True)
            elif (digest := _digest_of(entry.name)) is not None:
                sizes[digest] = entry.stat().st_size
    return sizes


def _digest_of(name: str) -> bytes | None:
    with contextlib.suppress(ValueError):
        digest = bytes.fromhex(name)
        return digest if len(digest) == 32 and digest.hex() == name else None
    return None


def make_folder(folder: Path, durable: bool) -> None:
    """Make a folder, 0700, and what is missing above it; ``durable``: their names are synced."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    for path in reversed(missing):
        path.mkdir(mode=0o700, exist_ok=True)
    if durable:
        # that of a folder that is there as well: who has made it may have ended before this
        for path in missing or [folder]:
            with contextlib.suppress(PermissionError):
                sync_folder(path.parent)


# -- what comes ------------------------------------------------------------------------------------


def append(upload: Upload, path: Path, ref: BlobRef, data: bytes, durable: bool) -> Stamp | None:
    """Add a chunk to a half upload; not None when that completes the blob.

    Raises:
        WrongBytes: it is complete, and is another value.
        StorageFull: the disk is. What was there of it is removed, as after any error.
    """
    part = upload.part
    try:
        with room(), _open(part, "ab" if upload.written else "wb") as file:
            if os.fstat(file.fileno()).st_size != upload.written:
                raise WrongBytes  # somebody else has been at it
            _write_all(file, data)
            upload.hash.update(data)
            upload.written += len(data)
            if upload.written < ref.size:
                return None
            _verify(upload.hash.digest(), upload.written, ref)
            return _complete(file, path, durable)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def compare(upload: Upload, ref: BlobRef, data: bytes) -> bool:
    """Hash a chunk of a blob that is there; whether that was the last one.

    Raises:
        WrongBytes: it is, and this is another value.
    """
    if not upload.shown:
        upload.shown = True
        upload.part.unlink(missing_ok=True)  # it came from somebody else meanwhile
    upload.hash.update(data)
    upload.written += len(data)
    if upload.written < ref.size:
        return False
    _verify(upload.hash.digest(), upload.written, ref)
    return True


def link(source: Path, part: Path, ref: BlobRef) -> Stamp:
    """Give a file of this user's a second name, if it can be the value, by what it looks like.

    Raises:
        OSError: it cannot be had in this way.
    """
    os.link(source, part, follow_symlinks=False)
    try:
        with _read_only(part) as file:
            return _stamp(_of_this_user(file, ref))
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def offered(source: Path, part: Path, ref: BlobRef, given_up: Path | None) -> Stamp:
    """The same with a file that is to be verified. ``given_up``: what was sent of it before."""
    if given_up is not None:
        given_up.unlink(missing_ok=True)
    return link(source, part, ref)


def linked(source: Path, part: Path, path: Path, ref: BlobRef) -> Stamp:
    """The same with a file that its owner has verified; it gets its name. Raises as ``link``."""
    stamp = link(source, part, ref)
    part.replace(path)
    return stamp


def verify_some(
    upload: Upload, path: Path, ref: BlobRef, keep: bool, durable: bool
) -> Stamp | None:
    """Hash more of an offered file; not None when all of it is. With ``keep`` it gets its name
    then, else it goes.

    Raises:
        WrongBytes: it is another value, or was written to meanwhile.
        StorageFull: there is no room for its name.
    """
    part = upload.part
    try:
        with room(), _read_only(part) as file:
            more = _hash_some(file, upload)
            if _stamp(os.fstat(file.fileno())) != upload.offered:
                raise WrongBytes
            if more:
                return None
            _verify(upload.hash.digest(), upload.written, ref)
            if not keep:
                part.unlink()
                return upload.offered
            return _complete(file, path, durable)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def _hash_some(file: FileIO, upload: Upload) -> bool:
    """Whether there may be more of it."""
    buffer = memoryview(bytearray(_READ_BYTES))
    until = upload.written + VERIFIED_AT_ONCE
    file.seek(upload.written)
    while upload.written < until:
        if not (count := file.readinto(buffer)):
            return False
        upload.hash.update(buffer[:count])
        upload.written += count
    return True


def _of_this_user(file: FileIO, ref: BlobRef) -> os.stat_result:
    """See that a file is of this user alone, as all values are, and has the right size."""
    about = os.fstat(file.fileno())
    own = about.st_uid == os.geteuid() and not about.st_mode & 0o077
    if not (stat.S_ISREG(about.st_mode) and own and about.st_size == ref.size):
        raise OSError(errno.EPERM, "not a file of this user alone with the size of the value")
    return about


def take(source: Path, path: Path, ref: BlobRef, durable: bool) -> Stamp:
    """Move a file here that was hashed when it was written. It stays there if that fails."""
    size = source.stat().st_size
    if size != ref.size:
        raise Malformed(f"a value of {ref.size} bytes has {size}")
    try:
        source.chmod(0o600)
        with room(), FileIO(os.fspath(source), "rb+") as file:
            return _complete(file, path, durable)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
    stamp = copy(source, path, ref, durable)  # from another file system
    source.unlink()
    return stamp


def copy(source: Path, path: Path, ref: BlobRef, durable: bool) -> Stamp:
    """Copy a file here, or give it a second name, and verify what it holds."""
    upload = Upload(path.with_suffix(PART))
    try:
        upload.offered = link(source, upload.part, ref)
    except OSError:
        return _copy(source, upload, path, ref, durable)
    stamp = None
    while stamp is None:
        stamp = verify_some(upload, path, ref, True, durable)
    return stamp


def _copy(source: Path, upload: Upload, path: Path, ref: BlobRef, durable: bool) -> Stamp:
    part = upload.part
    part.unlink(missing_ok=True)  # it may be a second name of what must not be written to
    try:
        with source.open("rb", buffering=0) as file, room(), _open(part, "wb") as to:
            while data := file.read(_COPY_BYTES):
                upload.hash.update(data)
                upload.written += len(data)
                _write_all(to, data)
            _verify(upload.hash.digest(), upload.written, ref)
            return _complete(to, path, durable)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def _complete(file: FileIO, path: Path, durable: bool) -> Stamp:
    """Give a file that holds the whole value its name."""
    if durable:
        sync(file.fileno())
    part = Path(os.fsdecode(file.name))
    part.replace(path)
    part.unlink(missing_ok=True)  # both stay, where both are names of one file
    if durable:
        sync_folder(path.parent)
    return _stamp(os.fstat(file.fileno()))


def _read_only(path: Path) -> FileIO:
    return FileIO(os.fspath(path), "rb", opener=_not_followed)


def _not_followed(path: str, flags: int) -> int:
    """Neither what a link leads to, nor what would keep us waiting."""
    return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)


def _open(path: Path, mode: str) -> FileIO:
    return FileIO(os.fspath(path), mode, opener=_private)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _write_all(file: FileIO, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[file.write(view) :]


def _verify(digest: bytes, size: int, ref: BlobRef) -> None:
    if digest != ref.digest or size != ref.size:
        raise WrongBytes


@contextlib.contextmanager
def room() -> Iterator[None]:
    """Turns a full disk into ``StorageFull``."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise StorageFull(f"there is no room for a value: {error}") from error
        raise


def sync(descriptor: int) -> None:
    """Have what was written on the disk itself.

    Raises:
        SyncFailed: it is not known what is there; a second try would tell nothing.
    """
    try:
        if hasattr(fcntl, "F_FULLFSYNC"):  # macOS: fsync stops at the disk's own memory
            fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)
        else:
            os.fsync(descriptor)
    except OSError as error:
        if error.errno in _FULL:
            raise
        raise SyncFailed(*error.args) from error


def sync_folder(folder: Path) -> None:
    """Have the names in a folder on the disk itself. Raises as ``sync``."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        sync(descriptor)
    finally:
        os.close(descriptor)


# -- what is read ----------------------------------------------------------------------------------


def read(path: Path, offset: int, size: int) -> bytes:
    """Part of a file."""
    with _readable(path), path.open("rb", buffering=0) as file:
        file.seek(offset)
        return file.read(size)


def check(path: Path, digest: bytes, known: Stamp | None) -> Stamp:
    """Read a file whole, unless it is as it was when it was ``known`` to be right.

    Raises:
        Damaged: its bytes do not have the hash, or cannot be read; the file is removed.
        NoSuchBlob: it is not there.
    """
    with _readable(path):
        try:
            with path.open("rb", buffering=0) as file:
                stamp = _stamp(os.fstat(file.fileno()))
                if stamp != known and hashlib.file_digest(file, "sha256").digest() != digest:
                    raise Damaged(damage(digest))
                return stamp
        except Damaged:
            path.unlink(missing_ok=True)
            raise


def damage(digest: bytes) -> str:
    """What is said of a value that is not what it was."""
    return f"the value {digest.hex()} is damaged: its bytes do not have its hash any more"


@contextlib.contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise NoSuchBlob from None
    except OSError as error:
        if error.errno != errno.EIO:
            raise
        raise Damaged(f"the value {path.name} is damaged: {error}") from error


def hash_file(path: Path) -> BlobRef:
    """What a file would be as a blob."""
    with path.open("rb", buffering=0) as file:
        digest = hashlib.file_digest(file, "sha256")
        return BlobRef(digest.digest(), file.tell())


def _stamp(about: os.stat_result) -> Stamp:
    return Stamp(about.st_size, about.st_mtime_ns)
