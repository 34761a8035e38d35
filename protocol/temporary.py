"""Temporary folders that do not pile up: one that a killed process has left is removed by the next
process that starts.

Each holds a file that its process keeps locked. A lock ends with its process, however that ends.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
from pathlib import Path
from threading import Thread
from typing import Final

PREFIX: Final = "ampacity-"
_OWNER: Final = "owner"


class TemporaryFolder:
    """A new folder, readable by its user alone, of this process. ``kind`` is part of its name."""

    def __init__(self, kind: str = "") -> None:
        self.path = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{kind}"))
        fresh = self.path / f"{_OWNER}.new"
        self._lock = os.open(fresh, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        fresh.rename(self.path / _OWNER)  # nobody has seen it unlocked

    def remove(self) -> None:
        """Blocking: remove it with all that is in it. Again, it does nothing."""
        _remove(self.path)
        lock, self._lock = self._lock, -1
        if lock >= 0:
            os.close(lock)


def remove_abandoned(folder: Path | None = None) -> list[Path]:
    """Blocking: remove this user's folders whose process is dead; which ones these were."""
    found = (folder or Path(tempfile.gettempdir())).glob(f"{PREFIX}*/{_OWNER}")
    return [owner.parent for owner in found if _removed(owner)]


def remove_abandoned_meanwhile() -> None:
    """The same in a thread that no program's end waits for: there may be much of it, and the next
    process goes on with what is left."""
    Thread(target=remove_abandoned, name="ampacity-abandoned", daemon=True).start()


def _removed(owner: Path) -> bool:
    try:
        if owner.parent.is_symlink() or owner.lstat().st_uid != os.getuid():
            return False
        lock = os.open(owner, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:  # it goes just now, or it is somebody else's
        return False
    try:
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _remove(owner.parent)
            return True
        return False
    finally:
        os.close(lock)


def _remove(folder: Path) -> None:
    """What ends this half way, or writes meanwhile, leaves a folder that is found again: the
    owner's file goes last."""
    with contextlib.suppress(OSError):
        for path in _content(folder):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)
        if not _content(folder):
            shutil.rmtree(folder)


def _content(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if path.name != _OWNER]
