"""How much room there is for the store: looked at now and then, with something kept back.

A disk that is quite full keeps nothing at all, not even that a job has ended. So a ballast file
lies beside the store and is removed when a write has failed for want of room: what was accepted
can end then, while submissions are refused until there is room for them and a new ballast.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from twisted.internet.defer import Deferred, DeferredLock
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure

_KIB, MIB = 1024, 1024 * 1024

DeferToThread = Callable[..., Deferred[Any]]


class _Seen(NamedTuple):
    """Bytes that are free, and whether the ballast is there as well."""

    free: int
    ballast: bool


class DiskRoom:
    """Watches the disk of a folder. Sizes in bytes, ``interval`` in seconds.

    Submissions are to be refused below ``floor`` bytes, until ``resume`` bytes are free again.
    """

    _log = Logger()

    def __init__(
        self,
        reactor: IReactorTime,
        folder: Path,
        defer_to_thread: DeferToThread,
        *,
        ballast: int = 16 * MIB,
        floor: int = 64 * MIB,
        resume: int | None = None,
        interval: float = 5.0,
    ) -> None:
        self.reason = ""
        """Why nothing more may be accepted, in a sentence. Or nothing."""
        self._folder = folder
        self._file = folder / "ballast"
        self._ballast = ballast
        self._floor = floor
        self._resume = floor + floor // 4 if resume is None else resume
        self._interval = interval
        self._defer = defer_to_thread
        self._lock = DeferredLock()  # of what is done to the disk
        self._looking = LoopingCall(self.look)
        self._looking.clock = reactor

    def start(self) -> Deferred[None]:
        """Fires after the first look."""
        first = self.look()
        self._looking.start(self._interval, now=False)
        return first

    def stop(self) -> Deferred[None]:
        """Look no more; the ballast stays for the next start. Fires when nothing is under way."""
        if self._looking.running:
            self._looking.stop()
        return self._lock.run(lambda: None)

    def look(self) -> Deferred[None]:
        """See how much is free, and to the ballast where there is room for it."""
        looked: Deferred[None] = self._lock.run(self._look)
        return looked.addErrback(self._not_seen)

    def _look(self) -> Deferred[None]:
        wanted = self._resume if self.reason else self._floor
        seen = self._defer(_see_to, self._file, self._ballast, wanted)
        return seen.addCallback(self._judge, wanted)

    def _judge(self, seen: _Seen, wanted: int) -> None:
        needed = wanted if seen.ballast else wanted + self._ballast
        if seen.ballast and seen.free >= wanted:
            self._say("")
        elif seen.free >= needed:  # and yet there is no place for the ballast: a quota
            self._say(f"no more can be stored in {self._folder}: its owner's quota is used up")
        else:
            # from now on more is needed than the floor
            needed += self._resume - wanted
            self._say(
                f"the disk of {self._folder} is nearly full: {_floored(seen.free)} are free, "
                f"{_ceiled(needed)} are needed"
            )

    def _say(self, what: str) -> None:
        before = self.reason
        self.reason = f"{what}; make room, submissions go on by themselves" if what else ""
        if self.reason and not before:
            self._log.warn("{why}", why=self.reason)
        elif before and not self.reason:
            self._log.info("there is room on the disk of {folder} again", folder=self._folder)

    def _not_seen(self, failure: Failure) -> None:
        self._log.failure(
            "cannot see how much room there is in {folder}", failure, folder=self._folder
        )

    def full(self) -> Deferred[bool]:
        """A write has failed for want of room: give up the ballast.

        Fires with whether there was one: then the same write may succeed now.
        """
        if not self.reason:
            self._say(f"the disk of {self._folder} is full")
        freed: Deferred[bool] = self._lock.run(self._defer, self.free_ballast)
        return freed

    def free_ballast(self) -> bool:
        """Blocking, in any thread: remove the ballast; whether there was one."""
        with contextlib.suppress(OSError):
            self._file.unlink()
            return True
        return False


# -- in threads ------------------------------------------------------------------------------------


def _see_to(file: Path, size: int, wanted: int) -> _Seen:
    """Look; and make the ballast, if there is none and ``wanted`` bytes would still be free."""
    there = _is_whole(file, size)
    free = shutil.disk_usage(file.parent).free
    if not there and free >= wanted + size:
        there = _allocate(file, size)
        free = shutil.disk_usage(file.parent).free
    return _Seen(free, there)


def _is_whole(file: Path, size: int) -> bool:
    if not size:
        return True
    with contextlib.suppress(FileNotFoundError):
        about = file.stat()
        return about.st_size == size and about.st_blocks * 512 >= size
    return False


def _allocate(file: Path, size: int) -> bool:
    """Make a file that takes its place on the disk; False where there is no room for it."""
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(descriptor, 0, size)
        else:
            _fill(descriptor, size)
    except OSError:
        file.unlink(missing_ok=True)
        return False
    finally:
        os.close(descriptor)
    return True


def _fill(descriptor: int, size: int) -> None:
    """Write bytes that no file system leaves out or makes smaller."""
    left = size
    while left:
        left -= os.write(descriptor, os.urandom(min(left, MIB)))
    os.fsync(descriptor)


def _floored(size: int) -> str:
    return f"{size // MIB} MiB" if size >= 10 * MIB else f"{size // _KIB} KiB"


def _ceiled(size: int) -> str:
    return f"{-(-size // MIB)} MiB" if size >= 10 * MIB else f"{-(-size // _KIB)} KiB"
