"""What a process did to its files, read from what ``strace -f -y -xx`` wrote of it.

Every call is told twice: when it begins and when it is over, for other threads go on meanwhile. A
sync covers what was written before it began, and only when it is over.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Literal, NamedTuple

CALLS = (
    "open,openat,creat,close,lseek,write,pwrite64,ftruncate,truncate,fallocate,fsync,fdatasync,"
    "rename,renameat,renameat2,unlink,unlinkat,mkdir,mkdirat,rmdir,dup,dup2,dup3,mmap,"
    "writev,pwritev,pwritev2,link,linkat,symlink,copy_file_range,sendfile,splice,sync_file_range"
)
"""What has to be traced."""

_LINE = re.compile(r"(\d+) +(.*)")
_CALL = re.compile(r"(\w+)\((.*)\) += (-?\d+|\?)(?:<([^>]*)>)?.*", re.S)
_UNFINISHED = " <unfinished ...>"
_RESUMED = re.compile(r"<\.\.\. (\w+) resumed>(.*)", re.S)
_FD = re.compile(r"(-?\w+)(?:<([^>]*)>)?")


class Call(NamedTuple):
    """One system call. Its arguments are as strace wrote them."""

    thread: int
    name: str
    arguments: list[str]
    result: int
    """Below 0: it failed. As long as it is not over, -1."""

    def text(self, place: int) -> bytes:
        """An argument that is a string, or a buffer."""
        quoted = self.arguments[place]
        if not (quoted.startswith('"') and quoted.endswith('"')):
            raise ValueError(f"{self.name}: the bytes of {quoted[-40:]!r} are not all there")
        return bytes.fromhex(quoted[1:-1].replace("\\x", ""))

    def path(self, place: int) -> str:
        """An argument that is a path."""
        return self.text(place).decode("utf-8", "surrogateescape")

    def number(self, place: int) -> int:
        """An argument that is a number."""
        return int(self.arguments[place], 0)

    def descriptor(self, place: int) -> int:
        """An argument that is a file descriptor."""
        found = _FD.match(self.arguments[place])
        assert found is not None
        return int(found[1])

    def folder(self, place: int) -> str:
        """The path of an argument that is a folder's descriptor, or the working folder."""
        found = _FD.match(self.arguments[place])
        assert found is not None
        return bytes.fromhex((found[2] or "").replace("\\x", "")).decode()


Phase = Literal["begins", "ends"]


def calls(lines: Iterable[str]) -> Iterator[tuple[Phase, Call]]:
    """Every call of a trace, at its beginning and at its end, in the order of the trace."""
    waiting: dict[int, str] = {}
    for line in lines:
        found = _LINE.fullmatch(line.rstrip("\n"))
        if found is None or found[2].startswith(("+++", "---")):
            continue
        thread, text = int(found[1]), found[2]
        resumed = _RESUMED.fullmatch(text)
        if resumed is not None:
            yield "ends", _call(thread, waiting.pop(thread) + resumed[2])
        elif text.endswith(_UNFINISHED):
            text = text.removesuffix(_UNFINISHED).rstrip()
            waiting[thread] = text
            yield "begins", _begun(thread, text)
        else:
            call = _call(thread, text)
            yield "begins", call
            yield "ends", call


def _call(thread: int, text: str) -> Call:
    found = _CALL.fullmatch(text)
    if found is None:
        raise ValueError(f"this is no system call: {text[:200]}")
    result = -1 if found[3] == "?" else int(found[3])
    return Call(thread, found[1], _arguments(found[2]), result)


def _begun(thread: int, text: str) -> Call:
    name, _, rest = text.partition("(")
    return Call(thread, name, _arguments(rest), -1)


def _arguments(text: str) -> list[str]:
    """With every string in hexadecimal, a comma is nothing but a separator."""
    return [part for part in text.strip().rstrip(",").split(", ") if part]
