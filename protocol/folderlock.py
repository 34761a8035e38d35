"""The lock of a folder that one process may use at a time, with the holder's process id in it."""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path

from .errors import AlreadyRunning

_PROBES = 5  # a look at the lock, see ``holder``, takes it for a moment
_PROBE_SECONDS = 0.01


class FolderLock:
    """Goes with its process, however that ends. ``advice`` tells who is refused what to do."""

    def __init__(self, folder: Path, advice: str) -> None:
        self._folder = folder
        self._advice = advice
        self._descriptor: int | None = None

    @property
    def _file(self) -> Path:
        return self._folder / "lock"

    def take(self) -> None:
        """Hold the folder until ``release`` or the end of the process.

        Raises:
            AlreadyRunning: another coordinator holds it.
        """
        descriptor = os.open(self._file, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        try:
            self._take(descriptor)
        except BaseException:
            os.close(descriptor)
            raise
        self._descriptor = descriptor

    def _take(self, descriptor: int) -> None:
        for probe in range(_PROBES):
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if probe == _PROBES - 1:
                    raise AlreadyRunning(self._who(descriptor)) from None
                time.sleep(_PROBE_SECONDS)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, b"%d\n" % os.getpid(), 0)

    def _who(self, descriptor: int) -> str:
        pid = _pid_in(descriptor)
        who = "another coordinator" if pid is None else f"the coordinator with pid {pid}"
        return f"{who} holds {self._folder}; {self._advice}"

    def release(self) -> None:
        """Let go, if it is held."""
        if self._descriptor is not None:
            os.ftruncate(self._descriptor, 0)
            os.close(self._descriptor)
            self._descriptor = None

    def holder(self) -> int | None:
        """The process id of the living coordinator that holds this folder; 0 if it cannot be told.

        It is found by trying the lock, shared and for a moment: a process that ended holds none.
        """
        try:
            descriptor = os.open(self._file, os.O_RDONLY | os.O_NOFOLLOW)
        except OSError:
            return None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return _pid_in(descriptor) or 0
        else:
            return None
        finally:
            os.close(descriptor)


def _pid_in(descriptor: int) -> int | None:
    text = os.pread(descriptor, 20, 0).strip()
    return int(text) if text.isdigit() else None
