"""Folders that only their owner may read: the socket's, and the one of keys and credentials."""

from __future__ import annotations

import contextlib
import os
import warnings
from pathlib import Path

import platformdirs

from .errors import InsecureFolder
from .folderlock import FolderLock
from .mounts import check_local
from .privacy import check_owned, check_private, make_private, read_secret, write_secret

__all__ = [
    "AccessFolder",
    "StateFolder",
    "check_private",
    "make_private",
    "read_secret",
    "write_secret",
]

SOCKET_PATH_BYTES = 103
"""What every system takes as the path of a UNIX socket."""


class AccessFolder:
    """Where this user's coordinator can be reached: socket, lock, log of a detached one.

    Whoever can read the folder can use the coordinator, so nobody else may.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path).absolute()
        self._lock = FolderLock(
            self.path, "use it, end it (ampacity down), or name another folder (--access)"
        )

    @classmethod
    def default(cls) -> AccessFolder:
        """``AMPACITY_ACCESS``, or a folder of the platform for this user's running programs."""
        given = os.environ.get("AMPACITY_ACCESS")
        if given:
            return cls(given)
        with warnings.catch_warnings():
            # without XDG_RUNTIME_DIR it names a folder under /tmp; ``check`` looks whose it is
            warnings.simplefilter("ignore")
            return cls(platformdirs.user_runtime_dir("ampacity"))

    @property
    def socket(self) -> Path:
        return self.path / "coordinator.socket"

    @property
    def log(self) -> Path:
        return self.path / "coordinator.log"

    def create(self) -> None:
        """Make the folder, readable by its owner only, and check it."""
        make_private(self.path)

    def check(self) -> None:
        """See that nobody else can reach in.

        Raises:
            InsecureFolder: folder or socket belong to someone else, or others can read the folder.
            FileNotFoundError: there is no such folder.
        """
        check_private(self.path)
        with contextlib.suppress(FileNotFoundError):
            if self.socket.lstat().st_uid != os.geteuid():
                raise InsecureFolder(f"{self.socket} belongs to another user; remove it")

    def lock(self) -> None:
        """Hold this folder until ``unlock`` or the end of the process.

        Raises:
            AlreadyRunning: another coordinator holds it.
        """
        self._lock.take()

    def unlock(self) -> None:
        self._lock.release()

    def holder(self) -> int | None:
        """The process id of the coordinator that holds this folder, see ``FolderLock``."""
        return self._lock.holder()


class StateFolder:
    """What outlives a process: the coordinator's key, its store, whom it has let in; a worker's
    credentials."""

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path).absolute()
        self._lock = FolderLock(
            self.path,
            "use it, end it (ampacity down), name another folder (--state), "
            "or keep nothing on disk (--ephemeral)",
        )

    @classmethod
    def default(cls) -> StateFolder:
        """``AMPACITY_STATE``, or the platform's folder for the state of programs."""
        given = os.environ.get("AMPACITY_STATE")
        return cls(given or platformdirs.user_state_dir("ampacity"))

    @property
    def key(self) -> Path:
        """The coordinator's key pair."""
        return self.path / "key.pem"

    @property
    def credentials(self) -> Path:
        """The hashes of what the coordinator has handed out."""
        return self.path / "credentials.json"

    @property
    def store(self) -> Path:
        """The folder of the coordinator's store: jobs, and their large values."""
        return self.path / "store"

    def joined(self, name: str) -> Path:
        """A worker's own credential, by a name of the worker's choice."""
        return self.path / "joined" / f"{name.replace('/', '_')}.token"

    def create(self) -> None:
        """Make the folder, readable by its owner only, and check it and what is in it.

        Raises:
            InsecureFolder: something of it belongs to another user, or is open to others.
        """
        make_private(self.path)
        store = self.store
        for path in (self.joined("").parent, store, store / "values", store / "queue.db"):
            with contextlib.suppress(FileNotFoundError):
                check_owned(path, path.stat())

    def lock(self) -> None:
        """Be the only coordinator that uses the store, until ``unlock`` or the process ends.

        Raises:
            AlreadyRunning: another one does.
        """
        self._lock.take()

    def unlock(self) -> None:
        self._lock.release()

    def holder(self) -> int | None:
        """The process id of the coordinator that uses the store, see ``FolderLock``."""
        return self._lock.holder()

    def check_store(self) -> None:
        """Blocking: see that the store can be kept in its folder.

        Raises:
            StoreRefused: the folder is on a network file system.
        """
        check_local(self.store)
