"""Plays a trace on the model of a disk, and cuts the power at many places of it."""

from __future__ import annotations

import os.path
import re
from collections.abc import Iterable, Iterator, Sequence
from random import Random
from typing import NamedTuple

import attrs

from .disk import Disk, File, Folder, Node, Odds, Tree
from .trace import Call, Phase, calls

_NOT_MODELLED = re.compile(
    "p?writev2?|link|linkat|symlink|copy_file_range|sendfile|splice|dup[23]?|truncate"
)


class NotModelled(Exception):
    """The process did something to its files that the model of the disk does not know."""


@attrs.define
class _Open:
    """An open file or folder."""

    node: Node
    path: str
    offset: int = 0
    appends: bool = False


class Replay:
    """What one process does to the files under a folder."""

    def __init__(self, root: str) -> None:
        self.disk = Disk()
        self.said = b""
        """What it has written to its standard output."""
        self._root = os.path.normpath(root)
        self._open: dict[int, _Open] = {}
        self._syncing: dict[int, int] = {}

    def take(self, phase: Phase, call: Call) -> bool:
        """Do what a call does; whether it can make a difference to the disk, or says something."""
        if phase == "begins":
            return self._begin(call)
        if call.result < 0:
            return call.name in ("fsync", "fdatasync") and self._sync_failed(call)
        if _NOT_MODELLED.fullmatch(call.name):
            self._refuse(call)
        end = getattr(self, f"_{call.name}", None)
        return bool(end is not None and end(call))

    def _begin(self, call: Call) -> bool:
        if call.name == "close":  # another thread may be given the same number before it is over
            self._open.pop(call.descriptor(0), None)
        elif call.name in ("fsync", "fdatasync"):
            self._syncing[call.thread] = self.disk.sync_begins()
        return False

    # -- files ------------------------------------------------------------------------------------

    def _openat(self, call: Call) -> bool:
        return self._opened(call, self._under(call, 0), call.arguments[2])

    def _opened(self, call: Call, path: str | None, flags: str) -> bool:
        self._open.pop(call.result, None)
        if path is None:
            return False
        node = self.disk.find(path)
        made = node is None
        if node is None:
            if "O_CREAT" not in flags:  # it was there before the trace began
                raise NotModelled(f"{path} was not made by the process that is traced")
            node = File()
            self.disk.make(path, node)
        elif "O_TRUNC" in flags and isinstance(node, File) and node.size:
            self.disk.resize(node, 0)
            made = True
        self._open[call.result] = _Open(node, path, appends="O_APPEND" in flags)
        return made

    def _lseek(self, call: Call) -> bool:
        opened = self._open.get(call.descriptor(0))
        if opened is not None:
            opened.offset = call.result
        return False

    def _write(self, call: Call) -> bool:
        if call.descriptor(0) == 1:
            self.said += call.text(1)[: call.result]
            return True
        opened = self._open.get(call.descriptor(0))
        if opened is None:
            return False
        file = _file(opened)
        offset = file.size if opened.appends else opened.offset
        self.disk.write(file, offset, call.text(1)[: call.result])
        opened.offset = offset + call.result
        return True

    def _pwrite64(self, call: Call) -> bool:
        opened = self._open.get(call.descriptor(0))
        if opened is None:
            return False
        self.disk.write(_file(opened), call.number(3), call.text(1)[: call.result])
        return True

    def _ftruncate(self, call: Call) -> bool:
        opened = self._open.get(call.descriptor(0))
        if opened is None:
            return False
        self.disk.resize(_file(opened), call.number(1))
        return True

    def _fallocate(self, call: Call) -> bool:
        opened = self._open.get(call.descriptor(0))
        if opened is None:
            return False
        if call.arguments[1] != "0":
            self._refuse(call)
        file = _file(opened)
        self.disk.resize(file, max(file.size, call.number(2) + call.number(3)))
        return True

    def _mmap(self, call: Call) -> bool:
        """Only ``-shm``, of which nothing is needed after a cut, may be written in memory."""
        shared = "MAP_SHARED" in call.arguments[3] and "PROT_WRITE" in call.arguments[2]
        opened = self._open.get(call.descriptor(4)) if shared else None
        if opened is not None and not opened.path.endswith("-shm"):
            self._refuse(call)
        return False

    def _fsync(self, call: Call) -> bool:
        until = self._syncing.pop(call.thread)
        opened = self._open.get(call.descriptor(0))
        if opened is None:
            return False
        self.disk.sync_ends(opened.node, until)
        return True

    _fdatasync = _fsync

    def _sync_failed(self, call: Call) -> bool:
        until = self._syncing.pop(call.thread)
        opened = self._open.get(call.descriptor(0))
        if opened is None:
            return False
        self.disk.sync_fails(opened.node, until, Random(until))
        return True

    # -- names ------------------------------------------------------------------------------------

    def _rename(self, call: Call) -> bool:
        return self._renamed(self._inside(call.path(0)), self._inside(call.path(1)))

    def _renameat(self, call: Call) -> bool:
        return self._renamed(self._under(call, 0), self._under(call, 2))

    _renameat2 = _renameat

    def _renamed(self, path: str | None, to: str | None) -> bool:
        if path is None and to is None:
            return False
        if path is None or to is None:
            raise NotModelled(f"a rename into or out of {self._root}")
        self.disk.rename(path, to)
        return True

    def _unlink(self, call: Call) -> bool:
        return self._unlinked(self._inside(call.path(0)))

    def _unlinkat(self, call: Call) -> bool:
        return self._unlinked(self._under(call, 0))

    _rmdir = _unlink

    def _unlinked(self, path: str | None) -> bool:
        if path is not None:
            self.disk.remove(path)
        return path is not None

    def _mkdir(self, call: Call) -> bool:
        return self._folder_made(self._inside(call.path(0)))

    def _mkdirat(self, call: Call) -> bool:
        return self._folder_made(self._under(call, 0))

    def _folder_made(self, path: str | None) -> bool:
        if path:
            self.disk.make(path, Folder())
        return bool(path)

    # -- where ------------------------------------------------------------------------------------

    def _under(self, call: Call, place: int) -> str | None:
        return self._inside(os.path.join(call.folder(place), call.path(place + 1)))  # noqa: PTH118

    def _inside(self, path: str) -> str | None:
        """The path below the root; None where it is elsewhere."""
        whole = os.path.normpath(path)
        if whole == self._root:
            return ""
        below = whole.removeprefix(self._root + "/")
        return None if below == whole else below

    def _refuse(self, call: Call) -> None:
        touches = [n for n in (0, 1, 2, 4) if n < len(call.arguments)]
        numbers = [call.arguments[n].partition("<")[0] for n in touches]
        if any(number.isdigit() and int(number) in self._open for number in numbers):
            raise NotModelled(f"{call.name}({', '.join(a[:80] for a in call.arguments)})")
        if any(self._root.encode().hex() in a.replace("\\x", "") for a in call.arguments):
            raise NotModelled(f"{call.name} on {self._root}")


def _file(opened: _Open) -> File:
    assert isinstance(opened.node, File), opened.path
    return opened.node


# -- cuts ------------------------------------------------------------------------------------------


class Cut(NamedTuple):
    """What is left when the power goes at one moment."""

    seed: int
    step: int
    said: bytes
    """What the process had said by then."""
    odds: Odds
    tree: Tree


ODDS = (Odds(), Odds(1.0, 1.0, 1.0), Odds(0.5, 0.5, 0.3), Odds(0.9, 0.9, 0.5), Odds(0.1, 1.0, 1.0))


def cuts(lines: Sequence[str], root: str, seeds: Iterable[int]) -> Iterator[Cut]:
    """One cut a seed: when it is, and what is kept of what was not synced, is by chance.

    In the order of their moments; the same seed gives the same cut of the same trace.
    """
    traced = list(calls(lines))
    steps = _count(traced, root)
    by_step: dict[int, list[int]] = {}
    for seed in seeds:
        by_step.setdefault(Random(seed).randrange(steps), []).append(seed)
    replay, step = Replay(root), 0
    for phase, call in traced:
        if not replay.take(phase, call):
            continue
        for seed in by_step.get(step, ()):
            chance = Random(f"{seed} of {step}")
            odds = chance.choice(ODDS)
            yield Cut(seed, step, replay.said, odds, replay.disk.after_cut(chance, odds))
        step += 1


def count_steps(lines: Iterable[str], root: str) -> int:
    """After how many calls the power can be cut, with a difference."""
    return _count(calls(lines), root)


def _count(traced: Iterable[tuple[Phase, Call]], root: str) -> int:
    replay = Replay(root)
    return sum(replay.take(phase, call) for phase, call in traced)


def final(lines: Iterable[str], root: str) -> Tree:
    """What is there in the end, when nothing is cut."""
    replay = Replay(root)
    for phase, call in calls(lines):
        replay.take(phase, call)
    return replay.disk.after_cut(Random(0), Odds(1.0, 1.0, 1.0))
