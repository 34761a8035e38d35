"""Folders that only their owner may read: the socket's, and the one of keys and credentials."""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
import tempfile
import time
import warnings
from pathlib import Path

import attrs
import platformdirs

from .errors import AlreadyRunning, InsecureFolder

_OTHERS = stat.S_IRWXG | stat.S_IRWXO
_PROBES = 5  # a look at the lock, see ``holder``, takes it for a moment
_PROBE_SECONDS = 0.01


class AccessFolder:
    """Where this user's coordinator can be reached: socket, lock, log of a detached one.

    Whoever can read the folder can use the coordinator, so nobody else may.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path).absolute()
        self._lock: int | None = None

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

    @property
    def _lock_file(self) -> Path:
        return self.path / "lock"

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
        descriptor = os.open(self._lock_file, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        try:
            self._take(descriptor)
        except BaseException:
            os.close(descriptor)
            raise
        self._lock = descriptor

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
        return f"{who} holds {self.path}; use it, end it (ampacity down), or name another folder"

    def unlock(self) -> None:
        if self._lock is not None:
            os.ftruncate(self._lock, 0)
            os.close(self._lock)
            self._lock = None

    def holder(self) -> int | None:
        """The process id of the living coordinator that holds this folder; 0 if it cannot be told.

        It is found by trying the lock, shared and for a moment: a process that ended holds none.
        """
        try:
            descriptor = os.open(self._lock_file, os.O_RDONLY | os.O_NOFOLLOW)
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


@attrs.frozen
class StateFolder:
    """What outlives a process: the coordinator's key, who it has let in, a worker's credentials."""

    path: Path

    @classmethod
    def default(cls) -> StateFolder:
        """``AMPACITY_STATE``, or the platform's folder for the state of programs."""
        given = os.environ.get("AMPACITY_STATE")
        return cls(Path(given or platformdirs.user_state_dir("ampacity")).absolute())

    @property
    def key(self) -> Path:
        """The coordinator's key pair."""
        return self.path / "key.pem"

    @property
    def credentials(self) -> Path:
        """The hashes of what the coordinator has handed out."""
        return self.path / "credentials.json"

    def joined(self, name: str) -> Path:
        """A worker's own credential, by a name of the worker's choice."""
        return self.path / "joined" / f"{name.replace('/', '_')}.token"

    def create(self) -> None:
        make_private(self.path)


def make_private(folder: Path) -> None:
    """Make a folder that only its owner can use; its new parents are like that, too.

    Raises:
        InsecureFolder: it was there, and is open to others.
    """
    for missing in reversed([p for p in (folder, *folder.parents) if not p.exists()]):
        missing.mkdir(mode=0o700, exist_ok=True)
    check_private(folder)


def check_private(path: Path) -> None:
    """See that a folder or file belongs to this user and that others can do nothing with it.

    Raises:
        InsecureFolder: with the line that mends it.
    """
    about = path.stat()
    if about.st_uid != os.geteuid():
        raise InsecureFolder(
            f"{path} belongs to another user (uid {about.st_uid}), and ampacity runs as uid "
            f"{os.geteuid()}; name a folder of your own"
        )
    if about.st_mode & _OTHERS:
        mode = "700" if stat.S_ISDIR(about.st_mode) else "600"
        raise InsecureFolder(f"others can reach {path}; mend it with: chmod {mode} {path}")


def write_secret(path: Path, data: bytes) -> None:
    """Blocking: write a file that only its owner can read, whole or not at all."""
    make_private(path.parent)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:  # mkstemp makes it 0600
            file.write(data)
            file.flush()
            os.fsync(descriptor)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def read_secret(path: Path) -> bytes:
    """Blocking: read a file that holds a secret.

    Raises:
        InsecureFolder: others can read it.
        FileNotFoundError: there is none.
    """
    check_private(path)
    return path.read_bytes()


def _pid_in(descriptor: int) -> int | None:
    text = os.pread(descriptor, 20, 0).strip()
    return int(text) if text.isdigit() else None
