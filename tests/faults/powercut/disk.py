"""A disk under a folder: what is on it for certain, and what a power cut may leave or take.

The model is harsher than most file systems. What was written to a file since its last sync is kept
or lost sector by sector, in any mixture, and the file may be longer than what is left of it. What
was done to the names of a folder since that folder's last sync is kept or lost one by one; a sync
of a file does not keep its name. A rename is done or not done, never half.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import NamedTuple

SECTOR = 512


class Odds(NamedTuple):
    """How likely it is that something is kept that was not synced."""

    data: float = 0.0
    """Of each sector."""
    names: float = 0.0
    """Of each change of a name."""
    length: float = 0.0
    """That a file has its full length, whatever of its bytes is kept."""


class Write(NamedTuple):
    """Bytes at a place of a file."""

    offset: int
    data: bytes

    def apply(self, content: bytearray) -> None:
        end = self.offset + len(self.data)
        if len(content) < end:
            content.extend(bytes(end - len(content)))
        content[self.offset : end] = self.data

    def sectors(self) -> Iterator[Write]:
        """The parts of it that a disk writes one by one."""
        start = 0
        while start < len(self.data):
            stop = SECTOR - (self.offset + start) % SECTOR + start
            yield Write(self.offset + start, self.data[start:stop])
            start = stop


class Resize(NamedTuple):
    """A file cut, or made longer with zeros."""

    size: int

    def apply(self, content: bytearray) -> None:
        if len(content) > self.size:
            del content[self.size :]
        else:
            content.extend(bytes(self.size - len(content)))


class File:
    """A file, whatever its names are."""

    def __init__(self) -> None:
        self.size = 0
        """As the process sees it."""
        self._kept = bytearray()
        self._pending: list[tuple[int, Write | Resize]] = []

    def change(self, number: int, change: Write | Resize) -> None:
        if isinstance(change, Write):
            self.size = max(self.size, change.offset + len(change.data))
        else:
            self.size = change.size
        self._pending.append((number, change))

    def sync(self, until: int) -> None:
        """What was written up to then is certain."""
        for number, change in self._pending:
            if number <= until:
                change.apply(self._kept)
        self._pending = [pending for pending in self._pending if pending[0] > until]

    def lose(self, until: int, chance: Random) -> None:
        """A sync has failed: some of what was written up to then is on the disk, the rest never
        will be, whatever the process sees of it and however often it is synced again."""
        late = [pending for pending in self._pending if pending[0] > until]
        self._pending = [pending for pending in self._pending if pending[0] <= until]
        self._kept = bytearray(self.after_cut(chance, Odds(0.5, 0.5, 0.5)))
        self._pending = late

    def after_cut(self, chance: Random, odds: Odds) -> bytes:
        content = bytearray(self._kept)
        for _, change in self._pending:
            if isinstance(change, Resize):
                if chance.random() < odds.data:
                    change.apply(content)
                continue
            for sector in change.sectors():
                if chance.random() < odds.data:
                    sector.apply(content)
        if self._pending and len(content) < self.size and chance.random() < odds.length:
            Resize(self.size).apply(content)
        return bytes(content)


class Rename(NamedTuple):
    """A name that goes, one that comes, or both at once."""

    gone: tuple[Folder, str] | None
    come: tuple[Folder, str, Node] | None


class Folder:
    """A folder: names, and what they stand for."""

    def __init__(self) -> None:
        self.names: dict[str, Node] = {}
        """As the process sees it."""
        self.kept: dict[str, Node] = {}
        self.pending: list[tuple[int, Rename]] = []


Node = File | Folder
Tree = dict[str, "bytes | Tree"]
"""A folder as its content: bytes of files, and folders, by name."""


class Disk:
    """The disk under one folder, which is there for certain. Paths are relative to it."""

    def __init__(self) -> None:
        self.root = Folder()
        self._last = 0

    # -- what is done -----------------------------------------------------------------------------

    def find(self, path: str) -> Node | None:
        """What is there, as the process sees it."""
        node: Node | None = self.root
        for name in _parts(path):
            node = node.names.get(name) if isinstance(node, Folder) else None
        return node

    def make(self, path: str, node: Node) -> None:
        """A new name."""
        folder, name = self._place(path)
        self._rename(Rename(None, (folder, name, node)))

    def remove(self, path: str) -> None:
        """A name less."""
        self._rename(Rename(self._place(path), None))

    def rename(self, path: str, to: str) -> None:
        folder, name = self._place(path)
        self._rename(Rename((folder, name), (*self._place(to), folder.names[name])))

    def write(self, file: File, offset: int, data: bytes) -> None:
        file.change(self._next(), Write(offset, data))

    def resize(self, file: File, size: int) -> None:
        file.change(self._next(), Resize(size))

    def sync_begins(self) -> int:
        """What ``sync_ends`` is to be told: the last of the changes that it covers."""
        return self._last

    def sync_ends(self, node: Node, until: int) -> None:
        """A sync that had begun then is over."""
        if isinstance(node, File):
            node.sync(until)
            return
        for number, rename in list(node.pending):
            if number <= until:
                _settle(rename)
                for folder in _folders(rename):
                    folder.pending.remove((number, rename))

    def sync_fails(self, node: Node, until: int, chance: Random) -> None:
        """A sync that had begun then has failed."""
        if isinstance(node, File):
            node.lose(until, chance)

    def _next(self) -> int:
        self._last += 1
        return self._last

    def _place(self, path: str) -> tuple[Folder, str]:
        *parents, name = _parts(path)
        folder = self.find("/".join(parents))
        assert isinstance(folder, Folder), path
        return folder, name

    def _rename(self, rename: Rename) -> None:
        number = self._next()
        if rename.gone is not None:
            folder, name = rename.gone
            del folder.names[name]
        if rename.come is not None:
            folder, name, node = rename.come
            folder.names[name] = node
        for folder in _folders(rename):
            folder.pending.append((number, rename))

    # -- what is left -----------------------------------------------------------------------------

    def after_cut(self, chance: Random, odds: Odds) -> Tree:
        """One of the many states in which a power cut now may leave the disk."""
        kept: dict[int, dict[str, Node]] = {}
        pending: dict[int, Rename] = {}
        for folder in self._all_folders():
            kept[id(folder)] = dict(folder.kept)
            pending.update(folder.pending)
        for number in sorted(pending):
            if chance.random() < odds.names:
                _apply(pending[number], kept)
        return _tree(self.root, kept, chance, odds)

    def _all_folders(self) -> list[Folder]:
        found: dict[int, Folder] = {}
        todo = [self.root]
        while todo:
            folder = todo.pop()
            if id(folder) in found:
                continue
            found[id(folder)] = folder
            nodes = [*folder.names.values(), *folder.kept.values()]
            nodes += [r.come[2] for _, r in folder.pending if r.come is not None]
            todo += [node for node in nodes if isinstance(node, Folder)]
        return list(found.values())


def _parts(path: str) -> list[str]:
    return [part for part in path.split("/") if part not in ("", ".")]


def _folders(rename: Rename) -> list[Folder]:
    """Where it is seen, each once."""
    folders = [place[0] for place in rename if place is not None]
    return folders[:1] if len(folders) == 2 and folders[0] is folders[1] else folders


def _settle(rename: Rename) -> None:
    if rename.gone is not None:
        rename.gone[0].kept.pop(rename.gone[1], None)
    if rename.come is not None:
        folder, name, node = rename.come
        folder.kept[name] = node


def _apply(rename: Rename, names: dict[int, dict[str, Node]]) -> None:
    if rename.gone is not None:
        names[id(rename.gone[0])].pop(rename.gone[1], None)
    if rename.come is not None:
        folder, name, node = rename.come
        names[id(folder)][name] = node


def _tree(folder: Folder, names: dict[int, dict[str, Node]], chance: Random, odds: Odds) -> Tree:
    return {
        name: (
            node.after_cut(chance, odds)
            if isinstance(node, File)
            else _tree(node, names, chance, odds)
        )
        for name, node in sorted(names[id(folder)].items())
    }


def write_tree(tree: Tree, folder: Path) -> None:
    """Make real files of it."""
    folder.mkdir(mode=0o700, exist_ok=True)
    for name, content in tree.items():
        if isinstance(content, bytes):
            (folder / name).write_bytes(content)
            (folder / name).chmod(0o600)
        else:
            write_tree(content, folder / name)
