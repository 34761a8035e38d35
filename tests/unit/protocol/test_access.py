"""Folders that nobody else may read, and the lock of one."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from ampacity.protocol.access import (
    AccessFolder,
    StateFolder,
    check_private,
    make_private,
    read_secret,
    write_secret,
)
from ampacity.protocol.errors import AlreadyRunning, InsecureFolder


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def folder(tmp_path: Path) -> AccessFolder:
    folder = AccessFolder(tmp_path / "access")
    folder.create()
    return folder


def test_a_new_folder_is_its_owners_only(tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        make_private(tmp_path / "a" / "b")
    finally:
        os.umask(old)
    assert mode(tmp_path / "a" / "b") == mode(tmp_path / "a") == 0o700


def test_creating_twice(folder: AccessFolder) -> None:
    folder.create()
    folder.check()


@pytest.mark.parametrize("open_to", [0o750, 0o701, 0o770, 0o777])
def test_an_open_folder_is_refused_with_the_line_that_mends_it(
    folder: AccessFolder, open_to: int
) -> None:
    folder.path.chmod(open_to)
    with pytest.raises(InsecureFolder, match=f"chmod 700 {folder.path}"):
        folder.check()
    with pytest.raises(InsecureFolder):
        folder.create()


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        AccessFolder(tmp_path / "none").check()


def test_the_folder_of_another_user(folder: AccessFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    with pytest.raises(InsecureFolder, match="another user"):
        folder.check()


def test_the_default_is_the_environments(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert AccessFolder.default().path.name == "ampacity"
    monkeypatch.delenv("XDG_RUNTIME_DIR")
    assert AccessFolder.default().path.name == "ampacity"
    monkeypatch.setenv("AMPACITY_ACCESS", str(tmp_path))
    monkeypatch.setenv("AMPACITY_STATE", str(tmp_path))
    assert AccessFolder.default().path == StateFolder.default().path == tmp_path


# -- the lock -------------------------------------------------------------------------------------


def test_a_held_folder_names_its_holder(folder: AccessFolder) -> None:
    other = AccessFolder(folder.path)
    assert other.holder() is None
    folder.lock()
    assert other.holder() == os.getpid()
    with pytest.raises(AlreadyRunning, match=str(os.getpid())):
        other.lock()
    folder.unlock()
    assert other.holder() is None
    other.lock()
    other.unlock()


def test_unlocking_what_is_not_locked(folder: AccessFolder) -> None:
    folder.unlock()


def test_looking_does_not_take_the_lock(folder: AccessFolder) -> None:
    folder.lock()
    folder.unlock()
    for _ in range(100):
        assert AccessFolder(folder.path).holder() is None
        folder.lock()
        folder.unlock()


def test_the_lock_goes_with_its_process(folder: AccessFolder) -> None:
    program = (
        "import os, sys; from ampacity.protocol.access import AccessFolder\n"
        f"AccessFolder({str(folder.path)!r}).lock()\nprint('locked', flush=True)\nsys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"locked\n"
        assert folder.holder() == process.pid
        process.kill()
    assert folder.holder() is None
    folder.lock()
    assert AccessFolder(folder.path).holder() == os.getpid()
    folder.unlock()


@pytest.mark.parametrize(
    ("kind", "advice"),
    [(AccessFolder, ["--access", "ampacity down"]), (StateFolder, ["--state", "--ephemeral"])],
)
def test_who_is_refused_is_told_what_to_do(
    tmp_path: Path, kind: type[AccessFolder | StateFolder], advice: list[str]
) -> None:
    first, second = kind(tmp_path / "folder"), kind(tmp_path / "folder")
    first.create()
    first.lock()
    with pytest.raises(AlreadyRunning) as refused:
        second.lock()
    for words in (str(first.path), f"pid {os.getpid()}", *advice):
        assert words in str(refused.value)
    assert second.holder() == os.getpid()
    first.unlock()
    second.lock()
    second.unlock()


def test_the_lock_is_no_link_to_elsewhere(folder: AccessFolder, tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("kept")
    (folder.path / "lock").symlink_to(tmp_path / "precious")
    with pytest.raises(OSError, match="symbolic links"):
        folder.lock()
    assert (tmp_path / "precious").read_text() == "kept"


# -- secrets --------------------------------------------------------------------------------------


def test_a_secret_is_written_whole_and_private(tmp_path: Path) -> None:
    path = tmp_path / "state" / "secret"
    old = os.umask(0)
    try:
        write_secret(path, b"one")
        write_secret(path, b"two")
    finally:
        os.umask(old)
    assert read_secret(path) == b"two"
    assert mode(path) == 0o600
    assert [entry.name for entry in path.parent.iterdir()] == ["secret"]


def test_a_secret_that_could_not_be_written_leaves_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "state" / "secret"
    write_secret(path, b"one")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_secret(path, b"two")
    assert read_secret(path) == b"one"
    assert [entry.name for entry in path.parent.iterdir()] == ["secret"]


def test_a_secret_that_others_can_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "state" / "secret"
    write_secret(path, b"one")
    path.chmod(0o640)
    with pytest.raises(InsecureFolder, match=f"chmod 600 {path}"):
        read_secret(path)
    with pytest.raises(InsecureFolder):
        check_private(path)


def test_a_workers_credential_stays_in_its_folder(tmp_path: Path) -> None:
    path = StateFolder(tmp_path).joined("../../etc/passwd")
    assert path.parent == tmp_path / "joined"
