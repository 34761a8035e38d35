"""Whose rights the jobs have, where these are not the agent's: ``ampacity join --user NAME``.

The agent stays root and runs nothing of the jobs'. Each child is started through a few lines of
the agent's own interpreter, isolated, which give up every right before the child's interpreter is
executed: what lies in that one's ``site-packages`` never runs as root. There is no way back: no
user id is kept, and on Linux no program can give rights any more (``no_new_privs``), sudo neither.

What a child must reach is handed over and no more: a folder of its own, the folder of results,
and the values that its jobs refer to, which it can only read.
"""

from __future__ import annotations

import os
import pwd
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import attrs

from ..protocol.errors import NoSuchUser, NotRoot

GIVEN_UP = 77
"""The exit code of a child that could not be started with the user's rights (EX_NOPERM)."""

_LAUNCHER = f"""\
import os, sys
uid, gid, groups, name = sys.argv[1:5]
words = sys.argv[5:]
try:
    import ctypes
    ctypes.CDLL(None).prctl(38, 1, 0, 0, 0)  # PR_SET_NO_NEW_PRIVS
except (ImportError, OSError, AttributeError):
    pass
os.setgroups([int(group) for group in groups.split(",") if group])
os.setgid(int(gid))
os.setuid(int(uid))
try:
    os.setuid(0)
except OSError:
    pass
else:
    sys.exit({GIVEN_UP})
try:
    os.chdir(os.getcwd())
except OSError:
    os.chdir("/")
try:
    os.execv(words[0], words)
except OSError as e:
    sys.stderr.write("the user %s cannot run %s: %s\\n" % (name, words[0], e.strerror))
    sys.exit({GIVEN_UP})
"""

_KEPT = frozenset(
    ("PATH", "LANG", "LANGUAGE", "TZ", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "SSL_CERT_FILE")
)
_KEPT_BEGINNINGS = ("LC_", "PYTHON", "OMP_", "MKL_", "OPENBLAS_", "NUMEXPR_", "VECLIB_", "BLIS_")
_KEPT_DEVICES = ("CUDA_", "NVIDIA_", "HIP_", "ROCR_", "GPU_", "ZE_", "ONEAPI_")


@attrs.frozen
class JobUser:
    """The user that jobs run as, looked up once."""

    name: str
    uid: int
    gid: int
    groups: tuple[int, ...]
    home: str
    shell: str

    @classmethod
    def named(cls, name: str) -> JobUser | None:
        """The user of this name, or of this number; None where this process is that user already.

        Raises:
            NoSuchUser: there is none, or it is root.
            NotRoot: this process may not become another user.
        """
        entry = _entry(name)
        if entry.pw_uid == 0:
            raise NoSuchUser(
                f"--user {name}: that is root, who may do everything, the jobs of your clients "
                "then, too; name a user without rights, made for it: useradd --system ampacity-jobs"
            )
        if entry.pw_uid == os.geteuid():
            return None
        if os.geteuid() != 0:
            raise NotRoot(
                f"--user {name}: only root can run jobs as another user, and this is "
                f"{_own_name()}; run it by sudo, or as {name} and without --user"
            )
        groups = os.getgrouplist(entry.pw_name, entry.pw_gid)
        return cls(
            entry.pw_name,
            entry.pw_uid,
            entry.pw_gid,
            tuple(groups),
            entry.pw_dir or "/",
            entry.pw_shell or "/bin/sh",
        )

    def words(self, words: Sequence[str]) -> list[str]:
        """The words of a process that is executed with these rights; ``words[0]`` is a path."""
        program = str(Path(words[0]).absolute())  # it may not be able to enter our folder
        groups = ",".join(map(str, self.groups))
        own = (str(self.uid), str(self.gid), groups, self.name)
        return [sys.executable, "-I", "-S", "-c", _LAUNCHER, *own, program, *words[1:]]

    def environment(self, ours: Mapping[str, str]) -> dict[str, str]:
        """Of our environment what tells of the machine, and who the user is. Nothing else: the
        environment of root's services is where other secrets live."""
        kept = {name: text for name, text in ours.items() if _tells_of_the_machine(name)}
        who = {"HOME": self.home, "USER": self.name, "LOGNAME": self.name, "SHELL": self.shell}
        return {**kept, **who}

    # -- what is handed over; all of it blocks, for microseconds -----------------------------------

    def let_through(self, folder: Path) -> None:
        """It can reach what it knows by name in a folder of ours, and cannot list it."""
        os.chown(folder, -1, self.gid)
        folder.chmod(0o710)

    def make_own(self, folder: Path) -> None:
        """Make a folder that is the user's alone."""
        folder.mkdir(mode=0o700, exist_ok=True)
        os.chown(folder, self.uid, self.gid)

    def let_read(self, path: Path) -> None:
        """It can read a file of ours in a folder of ours."""
        self.let_through(path.parent)
        os.chown(path, -1, self.gid)
        path.chmod(0o640)

    def let_write(self, descriptor: int) -> None:
        """It can open our pipe again by its name (``/dev/stderr``)."""
        os.fchown(descriptor, self.uid, self.gid)


def _tells_of_the_machine(name: str) -> bool:
    return name in _KEPT or name.startswith((*_KEPT_BEGINNINGS, *_KEPT_DEVICES))


def _entry(name: str) -> pwd.struct_passwd:
    try:
        return pwd.getpwnam(name)
    except KeyError:
        pass
    try:
        if name.isascii() and name.isdigit():
            return pwd.getpwuid(int(name))
    except (KeyError, OverflowError):
        pass
    raise NoSuchUser(f"--user {name}: there is no such user on this machine")


def _own_name() -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return f"uid {os.geteuid()}"
