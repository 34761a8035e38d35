"""The model of a disk: what must be kept, what may be, and what cannot be."""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Any

import pytest
from ampacity.tests.faults.powercut.disk import SECTOR, Disk, File, Folder, Odds, write_tree
from ampacity.tests.faults.powercut.replay import NotModelled, Replay, count_steps, cuts, final
from ampacity.tests.faults.powercut.trace import calls

NOTHING, EVERYTHING = Odds(), Odds(1.0, 1.0, 1.0)


def file_in(disk: Disk, path: str) -> File:
    file = File()
    disk.make(path, file)
    return file


def sync(disk: Disk, node: File | Folder) -> None:
    disk.sync_ends(node, disk.sync_begins())


def left(disk: Disk, odds: Odds = NOTHING, seed: int = 0) -> Any:
    return disk.after_cut(Random(seed), odds)


def all_left(disk: Disk, odds: Odds) -> list[Any]:
    """The different states that many cuts leave."""
    found: list[Any] = []
    for seed in range(200):
        tree = left(disk, odds, seed)
        if tree not in found:
            found.append(tree)
    return found


# -- bytes ----------------------------------------------------------------------------------------


def test_what_is_synced_is_kept_and_nothing_else_must_be() -> None:
    disk = Disk()
    file = file_in(disk, "a")
    disk.write(file, 0, b"one")
    sync(disk, file)
    sync(disk, disk.root)
    disk.write(file, 3, b"two")
    assert left(disk) == {"a": b"one"}
    assert left(disk, EVERYTHING) == {"a": b"onetwo"}
    sync(disk, file)
    assert left(disk) == {"a": b"onetwo"}


def test_a_sync_covers_what_was_written_before_it_began() -> None:
    disk = Disk()
    file = file_in(disk, "a")
    sync(disk, disk.root)
    disk.write(file, 0, b"before")
    begun = disk.sync_begins()
    disk.write(file, 6, b"after")
    assert left(disk) == {"a": b""}
    disk.sync_ends(file, begun)
    assert left(disk) == {"a": b"before"}


def test_a_write_is_torn_at_sectors() -> None:
    disk = Disk()
    file = file_in(disk, "a")
    disk.write(file, 0, b"o" * 3 * SECTOR)
    sync(disk, file)
    sync(disk, disk.root)
    disk.write(file, 100, b"n" * 2 * SECTOR)  # three sectors, the first and the last in part
    states = {tree["a"] for tree in all_left(disk, Odds(0.5))}
    assert len(states) == 8
    for state in states:
        for start, stop in ((100, SECTOR), (SECTOR, 2 * SECTOR), (2 * SECTOR, 2 * SECTOR + 100)):
            assert state[start:stop] in (b"o" * (stop - start), b"n" * (stop - start))
        assert state[:100] == b"o" * 100


def test_what_is_lost_in_the_middle_is_zeros_and_a_length_may_come_alone() -> None:
    disk = Disk()
    file = file_in(disk, "a")
    sync(disk, disk.root)
    disk.write(file, 0, b"x" * 2 * SECTOR)
    states = {tree["a"] for tree in all_left(disk, Odds(0.5, 0.0, 0.5))}
    assert states == {
        b"",
        b"x" * SECTOR,
        bytes(SECTOR) + b"x" * SECTOR,
        b"x" * 2 * SECTOR,
        bytes(2 * SECTOR),
        b"x" * SECTOR + bytes(SECTOR),
    }


def test_a_later_write_does_not_bring_an_earlier_one() -> None:
    disk = Disk()
    file = file_in(disk, "a")
    sync(disk, disk.root)
    for data in (b"1", b"2", b"3"):
        disk.write(file, 0, data)
    assert {tree["a"] for tree in all_left(disk, Odds(0.5))} == {b"", b"1", b"2", b"3"}


def test_a_file_that_is_cut_may_still_be_long() -> None:
    disk = Disk()
    file = file_in(disk, "a")
    disk.write(file, 0, b"long")
    sync(disk, file)
    sync(disk, disk.root)
    disk.resize(file, 1)
    assert {tree["a"] for tree in all_left(disk, Odds(0.5))} == {b"long", b"l"}
    sync(disk, file)
    assert left(disk) == {"a": b"l"}


def test_after_a_sync_that_failed_another_one_brings_nothing_back() -> None:
    found: set[bytes] = set()
    for seed in range(50):
        disk = Disk()
        file = file_in(disk, "a")
        sync(disk, disk.root)
        disk.write(file, 0, b"x" * 2 * SECTOR)
        disk.sync_fails(file, disk.sync_begins(), Random(seed))
        sync(disk, file)
        found.add(left(disk, EVERYTHING)["a"])
        disk.write(file, 0, b"y" * 2 * SECTOR)  # but what is written anew can be kept
        sync(disk, file)
        assert left(disk) == {"a": b"y" * 2 * SECTOR}
    assert {b"", b"x" * 2 * SECTOR, b"x" * SECTOR} <= found


# -- names ----------------------------------------------------------------------------------------


def test_a_sync_of_a_file_does_not_keep_its_name() -> None:
    disk = Disk()
    file = file_in(disk, "a")
    disk.write(file, 0, b"data")
    sync(disk, file)
    assert left(disk) == {}
    sync(disk, disk.root)
    assert left(disk) == {"a": b"data"}


def test_a_rename_is_done_or_not_done() -> None:
    disk = Disk()
    old, new = file_in(disk, "name"), file_in(disk, "name.part")
    for file, data in ((old, b"old"), (new, b"new")):
        disk.write(file, 0, data)
        sync(disk, file)
    sync(disk, disk.root)
    disk.rename("name.part", "name")
    assert all_left(disk, Odds(0.0, 0.5)) == [
        {"name": b"old", "name.part": b"new"},
        {"name": b"new"},
    ]
    sync(disk, disk.root)
    assert left(disk) == {"name": b"new"}


def test_a_name_without_its_bytes() -> None:
    """What happens to who renames and has not synced."""
    disk = Disk()
    file = file_in(disk, "name.part")
    disk.write(file, 0, b"data")
    disk.rename("name.part", "name")
    sync(disk, disk.root)
    assert left(disk) == {"name": b""}


def test_a_removed_file_may_be_there_again() -> None:
    disk = Disk()
    file = file_in(disk, "a")
    disk.write(file, 0, b"data")
    sync(disk, file)
    sync(disk, disk.root)
    disk.remove("a")
    assert disk.find("a") is None
    assert left(disk) == {"a": b"data"}
    sync(disk, disk.root)
    assert left(disk) == {}


def test_a_folder_has_its_own_sync_and_its_parents() -> None:
    disk = Disk()
    disk.make("sub", Folder())
    file = file_in(disk, "sub/a")
    disk.write(file, 0, b"data")
    sync(disk, file)
    sub = disk.find("sub")
    assert isinstance(sub, Folder)
    sync(disk, sub)
    assert left(disk) == {}
    sync(disk, disk.root)
    assert left(disk) == {"sub": {"a": b"data"}}


def test_a_rename_between_folders() -> None:
    disk = Disk()
    disk.make("one", Folder())
    disk.make("two", Folder())
    file_in(disk, "one/a")
    for folder in (disk.find("one"), disk.root):
        assert isinstance(folder, Folder)
        sync(disk, folder)
    disk.rename("one/a", "two/b")
    assert all_left(disk, Odds(0.0, 0.5)) == [
        {"one": {"a": b""}, "two": {}},
        {"one": {}, "two": {"b": b""}},
    ]


def test_a_tree_is_made_real(tmp_path: Path) -> None:
    write_tree({"a": b"1", "sub": {"b": b"2"}}, tmp_path / "root")
    assert (tmp_path / "root" / "a").read_bytes() == b"1"
    assert (tmp_path / "root" / "sub" / "b").read_bytes() == b"2"


# -- a trace, played on it ------------------------------------------------------------------------


def hexed(text: str) -> str:
    return "".join(f"\\x{byte:02x}" for byte in text.encode())


def opened(path: str, flags: str, number: int, folder: str = "/root") -> str:
    return (
        f'7 openat(AT_FDCWD<{hexed("/w")}>, "{hexed(f"{folder}/{path}")}", {flags}, 0600)'
        f" = {number}<{hexed(f'{folder}/{path}')}>"
    )


def wrote(number: int, text: str, call: str = "write", thread: int = 7, more: str = "") -> str:
    size = len(text)
    return f'{thread} {call}({number}<{hexed("?")}>, "{hexed(text)}", {size}{more}) = {size}'


VALUE = [
    f'7 mkdir("{hexed("/root/values")}", 0700) = 0',
    opened("", "O_RDONLY|O_DIRECTORY", 3),
    f"7 fsync(3<{hexed('/root')}>) = 0",
    f"7 close(3<{hexed('/root')}>) = 0",
    opened("values/v.part", "O_WRONLY|O_CREAT|O_TRUNC", 3),
    wrote(3, "one "),
    wrote(3, "two"),
    "7 fsync(3<\\x61>) = 0",
    f'7 rename("{hexed("/root/values/v.part")}", "{hexed("/root/values/v")}") = 0',
    opened("values", "O_RDONLY|O_DIRECTORY", 4),
    "7 fsync(4<\\x61>) = 0",
    "7 close(4<\\x61>) = 0",
    wrote(1, "done\n"),
    "7 close(3<\\x61>) = 0",
]


def test_a_trace_is_played() -> None:
    assert final(VALUE, "/root") == {"values": {"v": b"one two"}}


def test_who_has_said_so_has_it_on_the_disk() -> None:
    found = list(cuts(VALUE, "/root", range(300)))
    said = [cut for cut in found if cut.said]
    assert said
    assert all(cut.tree == {"values": {"v": b"one two"}} for cut in said)
    silent = [cut.tree for cut in found if not cut.said]
    assert {} in silent
    assert {"values": {}} in silent
    assert {"values": {"v.part": b"one "}} in silent


@pytest.mark.parametrize("left_out", ["fsync(3<\\x61>", "fsync(4<", "fsync(3<\\x2f"])
def test_a_sync_left_out_is_seen(left_out: str) -> None:
    careless = [line for line in VALUE if left_out not in line]
    assert len(careless) == len(VALUE) - 1
    said = [cut for cut in cuts(careless, "/root", range(300)) if cut.said]
    assert any(cut.tree != {"values": {"v": b"one two"}} for cut in said)


def test_the_same_seed_is_the_same_cut() -> None:
    assert list(cuts(VALUE, "/root", [5])) == [
        cut for cut in cuts(VALUE, "/root", range(10)) if cut.seed == 5
    ]


def test_places_appending_and_cutting_as_databases_do() -> None:
    lines = [
        opened("db", "O_RDWR|O_CREAT", 5),
        wrote(5, "abcdef", "pwrite64", more=", 2"),
        "7 ftruncate(5<\\x61>, 4) = 0",
        f"7 lseek(5<{hexed('?')}>, 0, SEEK_SET) = 0",
        wrote(5, "A"),
        opened("log", "O_WRONLY|O_CREAT|O_APPEND", 6),
        wrote(6, "x"),
        wrote(6, "y"),
        "7 fallocate(6<\\x61>, 0, 0, 4) = 0",
        opened("elsewhere", "O_WRONLY|O_CREAT", 8, "/other"),
        wrote(8, "not ours"),
    ]
    assert final(lines, "/root") == {"db": b"A\0ab", "log": b"xy\0\0"}
    assert count_steps(lines, "/root") == 8


def test_a_number_that_is_closed_may_be_given_again_before_the_close_is_over() -> None:
    lines = [
        opened("a", "O_WRONLY|O_CREAT", 5),
        "7 close(5<\\x61> <unfinished ...>",
        opened("b", "O_WRONLY|O_CREAT", 5).replace("7 ", "8 ", 1),
        "7 <... close resumed>) = 0",
        wrote(5, "to b", thread=8),
    ]
    assert final(lines, "/root") == {"a": b"", "b": b"to b"}


@pytest.mark.parametrize(
    "line",
    [
        "7 dup(5<\\x61>) = 9<\\x61>",
        "7 copy_file_range(5<\\x61>, NULL, 6<\\x62>, NULL, 10, 0) = 10",
        "7 mmap(NULL, 4096, PROT_READ|PROT_WRITE, MAP_SHARED, 5<\\x61>, 0) = 0x7f00",
        f'7 rename("{hexed("/root/a")}", "{hexed("/other/a")}") = 0',
        f'7 link("{hexed("/root/a")}", "{hexed("/other/a")}") = 0',
    ],
)
def test_what_the_model_does_not_know_is_not_passed_over(line: str) -> None:
    replay = Replay("/root")
    with pytest.raises(NotModelled):
        for phase, call in calls([opened("a", "O_RDWR|O_CREAT", 5), line]):
            replay.take(phase, call)
