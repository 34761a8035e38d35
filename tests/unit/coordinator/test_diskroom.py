"""Room on a disk: the floor, the ballast, and small disks that are really full."""

from __future__ import annotations

import os
import shutil
from collections import namedtuple
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ampacity.coordinator import diskroom
from ampacity.coordinator.diskroom import MIB, DiskRoom
from twisted.internet.defer import Deferred, execute
from twisted.internet.task import Clock

KIB = 1024
Usage = namedtuple("Usage", "free")


def now(deferred: Deferred[Any]) -> Any:
    results: list[Any] = []
    deferred.addCallback(results.append)
    assert results, "it has not fired"
    return results[0]


class Disk:
    """Says how much is free, apart from what the ballast takes."""

    def __init__(self, folder: Path) -> None:
        self.free = 100 * MIB
        self.quota = False
        self.folder = folder
        self.clock = Clock()
        self.room = DiskRoom(self.clock, folder, execute)

    @property
    def ballast(self) -> bool:
        return (self.folder / "ballast").exists()

    def usage(self, path: Path) -> Usage:
        assert path == self.folder
        return Usage(self.free - 16 * MIB * self.ballast)

    def allocate(self, descriptor: int, offset: int, size: int) -> None:
        if self.quota:
            raise OSError(122, "Disk quota exceeded")
        os.pwrite(descriptor, bytes(size), offset)

    def after(self, free: int) -> str:
        """What is said when this much is free and time has gone on."""
        self.free = free * MIB
        self.clock.advance(5)
        return self.room.reason


@pytest.fixture
def disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Disk]:
    disk = Disk(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", disk.usage)
    monkeypatch.setattr(os, "posix_fallocate", disk.allocate, raising=False)
    yield disk
    now(disk.room.stop())
    assert disk.clock.getDelayedCalls() == []


def test_with_room_there_is_a_ballast_and_nothing_to_say(disk: Disk) -> None:
    now(disk.room.start())
    assert disk.room.reason == ""
    assert disk.ballast
    assert (disk.folder / "ballast").stat().st_mode & 0o077 == 0


def test_below_the_floor_a_sentence_says_why_and_what_to_do(disk: Disk) -> None:
    now(disk.room.start())
    assert disk.after(16 + 12) == (
        f"the disk of {disk.folder} is nearly full: 12 MiB are free, 80 MiB are needed; "
        "make room, submissions go on by themselves"
    )
    assert disk.ballast


def test_what_is_needed_is_more_than_what_was_too_little(disk: Disk) -> None:
    now(disk.room.start())
    assert disk.after(16 + 64) == ""
    assert disk.after(16 + 63)
    assert disk.after(16 + 70)
    assert disk.after(16 + 80) == ""
    assert disk.after(16 + 64) == ""


def test_a_full_disk_costs_the_ballast_and_gets_it_back(disk: Disk) -> None:
    now(disk.room.start())
    assert now(disk.room.full()) is True
    assert "is full" in disk.room.reason
    assert not disk.ballast
    assert now(disk.room.full()) is False
    assert "16 MiB are free, 96 MiB are needed" in disk.after(16)
    assert "95 MiB are free, 96 MiB are needed" in disk.after(95)
    assert not disk.ballast
    assert disk.after(96) == ""
    assert disk.ballast


def test_no_ballast_is_made_of_the_last_bytes(disk: Disk) -> None:
    disk.free = 64 * MIB
    now(disk.room.start())
    assert disk.room.reason
    assert not disk.ballast


def test_where_a_quota_is_used_up_free_bytes_say_nothing(disk: Disk) -> None:
    now(disk.room.start())
    now(disk.room.full())
    disk.quota = True
    assert "quota" in disk.after(1000)
    assert not disk.ballast
    disk.quota = False
    assert disk.after(1000) == ""


def test_a_ballast_of_an_earlier_start_is_kept_if_it_takes_its_place(disk: Disk) -> None:
    now(disk.room.start())
    number = (disk.folder / "ballast").stat().st_ino
    again = DiskRoom(disk.clock, disk.folder, execute)
    now(again.start())
    assert (disk.folder / "ballast").stat().st_ino == number
    os.truncate(disk.folder / "ballast", 0)
    os.truncate(disk.folder / "ballast", 16 * MIB)  # the size, and no bytes
    now(again.look())
    assert (disk.folder / "ballast").stat().st_blocks * 512 >= 16 * MIB
    now(again.stop())


def test_a_change_is_logged_once(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []

    class Log:
        def warn(self, _: str, why: str) -> None:
            said.append(why)

        def info(self, *_: object, **__: object) -> None:
            said.append("again")

    monkeypatch.setattr(DiskRoom, "_log", Log())
    now(disk.room.start())
    for free in (20, 30, 200, 200):
        disk.after(free)
    assert [text[:12] for text in said] == ["the disk of ", "again"]


def test_a_folder_that_cannot_be_seen_changes_nothing(
    disk: Disk, monkeypatch: pytest.MonkeyPatch, logged_errors: Any
) -> None:
    now(disk.room.start())

    def gone(_: Path) -> Usage:
        raise FileNotFoundError

    monkeypatch.setattr(shutil, "disk_usage", gone)
    assert disk.after(0) == ""
    assert logged_errors(FileNotFoundError)


# -- a real disk ----------------------------------------------------------------------------------


def fill(folder: Path) -> None:
    """Write until nothing more goes in."""
    with (folder / "filling").open("wb", buffering=0) as file:
        for size in (64 * KIB, 512, 1):
            try:
                while file.write(bytes(size)):
                    pass
            except OSError:
                continue


def test_a_disk_that_is_full_has_the_room_of_the_ballast(
    sized_tmpfs: Callable[[int], Path],
) -> None:
    folder, clock = sized_tmpfs(4 * MIB), Clock()
    room = DiskRoom(clock, folder, execute, ballast=256 * KIB, floor=512 * KIB, interval=1.0)
    now(room.start())
    assert room.reason == ""
    fill(folder)
    with pytest.raises(OSError, match="No space"):
        (folder / "completions").write_bytes(bytes(100 * KIB))
    assert now(room.full()) is True
    (folder / "completions").write_bytes(bytes(100 * KIB))
    clock.advance(1)
    assert "KiB are free, 896 KiB are needed" in room.reason
    (folder / "filling").unlink()
    clock.advance(1)
    assert room.reason == ""
    fill(folder)  # and the ballast is there again
    assert now(room.full()) is True
    (folder / "more").write_bytes(bytes(100 * KIB))
    now(room.stop())


@pytest.mark.parametrize("allocating", [True, False])
def test_the_ballast_takes_its_place(
    sized_tmpfs: Callable[[int], Path], monkeypatch: pytest.MonkeyPatch, allocating: bool
) -> None:
    folder = sized_tmpfs(4 * MIB)
    if not allocating:
        monkeypatch.delattr(os, "posix_fallocate", raising=False)
    before = shutil.disk_usage(folder).free
    assert diskroom._allocate(folder / "ballast", MIB)
    assert shutil.disk_usage(folder).free <= before - MIB
    assert not diskroom._allocate(folder / "more", 4 * MIB)
    assert not (folder / "more").exists()
