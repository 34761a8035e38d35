"""Files and folders that hold secrets: whose they are, who can read them, who could change them.

Three things are asked of each. It belongs to this user. Others can do nothing with it. And nobody
else can put something in its place: every folder on the way to it belongs to this user or to root,
and others can either not write there or, as in /tmp, not rename what is not theirs.
"""

from __future__ import annotations

import contextlib
import grp
import os
import pwd
import stat
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from .errors import InsecureFolder

_OTHERS = stat.S_IRWXG | stat.S_IRWXO

ENGINES_FOLDER = Path("/run/secrets")
"""Where container engines put secrets, as files that everybody in the container can read."""

_TOKEN_FILE_BYTES = 64 * 1024


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
    check_owned(path, path.stat())
    check_way(path)


def check_owned(path: Path, about: os.stat_result) -> None:
    """See that what is at a path is this user's, and closed to others. Raises InsecureFolder."""
    if about.st_uid != os.geteuid():
        raise InsecureFolder(
            f"{path} belongs to another user (uid {about.st_uid}), and ampacity runs as uid "
            f"{os.geteuid()}; name a folder of your own"
        )
    if about.st_mode & _OTHERS and _is_shared(path, about):
        raise InsecureFolder(f"others use {path}, too; name a folder of your own inside it")
    if about.st_mode & _OTHERS:
        mode = "700" if stat.S_ISDIR(about.st_mode) else "600"
        raise InsecureFolder(f"others can reach {path}; mend it with: chmod {mode} {path}")


def _is_shared(path: Path, about: os.stat_result) -> bool:
    """Whether a folder is everybody's, as /tmp: who closes it breaks the machine."""
    return bool(about.st_mode & stat.S_ISVTX) or path.parent == path


def check_way(path: Path) -> None:
    """See that nobody else can put something in the place of a path, or of what it links to.

    Raises:
        InsecureFolder: with the line that mends it.
    """
    path = path.absolute()
    for link in (path, *path.parents):
        if link.is_symlink() and not _trusted(link.lstat().st_uid):
            raise InsecureFolder(
                f"{link} is a link of another user's (uid {link.lstat().st_uid}), who can have it "
                "lead elsewhere; name the place itself"
            )
    for folder in dict.fromkeys([*path.parents, *path.resolve().parents]):
        _check_step(path, folder, folder.stat())


def _check_step(path: Path, folder: Path, about: os.stat_result) -> None:
    if not _trusted(about.st_uid):
        raise InsecureFolder(
            f"{folder}, on the way to {path}, belongs to another user (uid {about.st_uid}), who "
            "can put something else in its place; name a folder of your own"
        )
    if _others_write(about) and not about.st_mode & stat.S_ISVTX:
        raise InsecureFolder(
            f"others can put something else in the place of {path}, since they can write to "
            f"{folder}; mend it with: chmod go-w {folder}"
        )


def _others_write(about: os.stat_result) -> bool:
    if about.st_mode & stat.S_IWOTH:
        return True
    return bool(about.st_mode & stat.S_IWGRP) and not _nobody_elses_group(about.st_gid)


def _nobody_elses_group(gid: int) -> bool:
    """Whether a group is root's, the one of this user alone, or in no list of groups: a number
    that a container was started with."""
    if gid == 0:
        return True
    try:
        group = grp.getgrgid(gid)
    except KeyError:
        return True
    own = _own_name()
    return group.gr_name == own and not set(group.gr_mem) - {own}


def _own_name() -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return ""


def _trusted(uid: int) -> bool:
    """Whether this is root or this user. In a container without root's rights, the machine's root
    is seen as nobody."""
    return uid in (0, os.geteuid()) or (uid == _unmapped())


@cache
def _unmapped() -> int | None:
    """The user that stands for those who have no number in this user namespace; None outside."""
    with contextlib.suppress(OSError, ValueError):
        first, outside, count = Path("/proc/self/uid_map").read_text().split()
        if (first, outside, count) != ("0", "0", "4294967295"):
            return int(Path("/proc/sys/kernel/overflowuid").read_text())
    return None


# -- files ----------------------------------------------------------------------------------------


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
        InsecureFolder: others can read it, or could have put it there.
        FileNotFoundError: there is none.
    """
    with _opened(path) as descriptor, os.fdopen(os.dup(descriptor), "rb") as file:
        check_owned(path, os.fstat(descriptor))
        check_way(path)
        return file.read()


def read_token_file(path: Path) -> str:
    """Blocking: the text of a file that somebody has put a token into.

    It is this user's or root's, and closed to others; root's may be open to a group of this
    user's. Where only who made a mount decides who sees it, as container engines do with secrets,
    nothing is asked: on a read-only mount, and below ``/run/secrets``. Nor of a pipe.

    Raises:
        InsecureFolder: others can read it, or could have put it there.
        OSError: it cannot be read.
    """
    with _opened(path) as descriptor, os.fdopen(os.dup(descriptor), "rb") as file:
        about = os.fstat(descriptor)
        if stat.S_ISREG(about.st_mode) and not _is_engines(path, descriptor):
            _check_token_file(path, about)
            check_way(path)
        return file.read(_TOKEN_FILE_BYTES).decode(errors="replace")


def _is_engines(path: Path, descriptor: int) -> bool:
    read_only = os.fstatvfs(descriptor).f_flag & os.ST_RDONLY
    return bool(read_only) or path.absolute().is_relative_to(ENGINES_FOLDER)


def _check_token_file(path: Path, about: os.stat_result) -> None:
    if not _trusted(about.st_uid):
        raise InsecureFolder(
            f"the token file {path} belongs to another user (uid {about.st_uid}), who can change "
            "it; make a copy of your own"
        )
    open_to = about.st_mode & _OTHERS
    if about.st_uid != os.geteuid() and about.st_gid in {os.getegid(), *os.getgroups()}:
        open_to &= ~stat.S_IRGRP
    if open_to:
        raise InsecureFolder(
            f"others can read the token in {path}; mend it with: chmod 600 {path}, and have a new "
            "one made if somebody may have read it"
        )


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[int]:
    """What is looked at is what is read, whatever happens to the name meanwhile."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
