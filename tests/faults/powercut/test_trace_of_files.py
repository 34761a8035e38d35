"""The parser of traces, on lines written by hand."""

from __future__ import annotations

import pytest
from ampacity.tests.faults.powercut.trace import Call, calls


def hexed(text: str) -> str:
    return "".join(f"\\x{byte:02x}" for byte in text.encode())


def test_a_call_begins_and_ends() -> None:
    line = f'7 pwrite64(4<{hexed("/s/a, b")}>, "{hexed(", )")}", 3, 4096) = 3\n'
    (first, begun), (second, ended) = calls([line])
    assert (first, second) == ("begins", "ends")
    assert begun == ended
    assert ended.name == "pwrite64"
    assert ended.descriptor(0) == 4
    assert ended.text(1) == b", )"
    assert ended.number(3) == 4096
    assert ended.result == 3


def test_threads_take_turns_within_a_call() -> None:
    lines = [
        "7 fdatasync(4<\\x61> <unfinished ...>",
        '8 write(1<\\x62>, "\\x63", 1) = 1',
        "7 <... fdatasync resumed>)           = 0",
    ]
    told = [(phase, call.thread, call.name, call.result) for phase, call in calls(lines)]
    assert told == [
        ("begins", 7, "fdatasync", -1),
        ("begins", 8, "write", 1),
        ("ends", 8, "write", 1),
        ("ends", 7, "fdatasync", 0),
    ]


def test_a_result_may_be_a_file_or_an_error() -> None:
    folder = hexed("/s")
    lines = [
        f'7 openat(AT_FDCWD<{folder}>, "{hexed("x")}", O_RDWR|O_CREAT, 0600) = 5<{hexed("/s/x")}>',
        f'7 openat(AT_FDCWD<{folder}>, "{hexed("y")}", O_RDONLY) = -1 ENOENT (No such file)',
        "7 exit_group(0) = ?",
        "7 +++ exited with 0 +++",
        "8 --- SIGCHLD {si_signo=SIGCHLD} ---",
    ]
    ended: list[Call] = [call for phase, call in calls(lines) if phase == "ends"]
    assert [call.result for call in ended] == [5, -1, -1]
    assert ended[0].folder(0) == "/s"
    assert ended[0].path(1) == "x"
    assert ended[0].arguments[2] == "O_RDWR|O_CREAT"


def test_a_buffer_that_is_not_whole_is_no_buffer() -> None:
    [_, (_, call)] = calls(['7 write(3<\\x61>, "\\x62"..., 1000) = 1000'])
    with pytest.raises(ValueError, match="not all there"):
        call.text(1)


def test_what_is_no_call_is_refused() -> None:
    with pytest.raises(ValueError, match="no system call"):
        list(calls(["7 what is this"]))
