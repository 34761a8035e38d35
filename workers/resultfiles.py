"""The files in which children leave large results, until these are stored.

What a child says of a file is not believed: it must lie in the folder of results, under a name of
that child's. Where children are another user's, who could put anything in its place meanwhile, the
agent copies it to a folder of its own first, and sees that it holds what was announced.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, maybeDeferred

from ..protocol.errors import Malformed
from ..protocol.jobs import BlobRef
from .launch import ChildOptions
from .rights import JobUser

InThread = Callable[[Callable[[], Any]], Deferred[Any]]
Files = Sequence[tuple[BlobRef, Path]]
Store = Callable[[BlobRef, Path], Deferred[None]]

ELSEWHERE = "its child said that its result lies in a file which is not one of that child's"

_COPY_BYTES = 1024 * 1024


class Results:
    """The result files of one pool's children."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def of(self, child: Path, reported: Iterable[list[Any]]) -> Files | None:
        """The files that a child, known by its folder, has reported as ``[digest, size, path]``;
        None where one of them is not its own."""
        files = [(BlobRef(ref[0], ref[1]), Path(ref[2])) for ref in reported]
        folder, beginning = self._folder, f"{child.name}-"
        if all(path.parent == folder and path.name.startswith(beginning) for _, path in files):
            return files
        return None

    def store(self, store: Store, ref: BlobRef, path: Path) -> Deferred[None]:
        """Have a file stored, which takes it away. It can be tried again."""
        return maybeDeferred(store, ref, path)

    def discard(self, files: Files) -> None:
        """Remove what nobody wants."""
        for _, path in files:
            path.unlink(missing_ok=True)


class OthersResults(Results):
    """Those of children that are another user's."""

    def __init__(self, options: ChildOptions, user: JobUser, in_thread: InThread) -> None:
        super().__init__(options.results())
        self._own = options.taken()
        self._user = user
        self._in_thread = in_thread

    def store(self, store: Store, ref: BlobRef, path: Path) -> Deferred[None]:
        """Have a copy stored, which is ours alone and holds what was announced."""
        taken = self._taken(ref, path)
        copied = self._in_thread(lambda: _take(path, taken, ref, self._user.uid))
        return copied.addCallback(lambda _: store(ref, taken))

    def discard(self, files: Files) -> None:
        """Remove what nobody wants, and its copy."""
        super().discard(files)
        for ref, path in files:
            self._taken(ref, path).unlink(missing_ok=True)

    def _taken(self, ref: BlobRef, path: Path) -> Path:
        return self._own / f"{path.name}-{ref.digest.hex()}"


def results_of(options: ChildOptions, in_thread: InThread) -> Results:
    """The result files of children with these options."""
    if options.user is None:
        return Results(options.results())
    return OthersResults(options, options.user, in_thread)


def _take(path: Path, taken: Path, ref: BlobRef, uid: int) -> None:
    """Blocking: copy a file of another user's; it is there whole and verified, or not at all.

    Raises:
        Malformed: it is something else than what was announced.
    """
    if taken.exists():
        return
    part = taken.with_name(f"{taken.name}.part")
    try:
        with os.fdopen(_open(path, ref, uid), "rb", buffering=0) as source, part.open("xb") as to:
            digest = hashlib.sha256()
            while to.tell() <= ref.size and (data := source.read(_COPY_BYTES)):
                digest.update(data)
                to.write(data)
            if to.tell() != ref.size or digest.digest() != ref.digest:
                raise Malformed("the file of a result does not hold what was announced")
        part.rename(taken)
    finally:
        part.unlink(missing_ok=True)
    path.unlink(missing_ok=True)


def _open(path: Path, ref: BlobRef, uid: int) -> int:
    """Open a file, not what a link leads to, nor what would keep us waiting."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as e:
        raise Malformed(f"the file of a result cannot be opened: {e.strerror}") from None
    about = os.fstat(descriptor)
    if not stat.S_ISREG(about.st_mode) or about.st_uid != uid or about.st_size != ref.size:
        os.close(descriptor)
        raise Malformed("the file of a result is not what was announced")
    return descriptor
