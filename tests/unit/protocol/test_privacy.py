"""Files and folders of secrets: others' hands, links, ways, and what engines mount."""

from __future__ import annotations

import grp
import os
import pwd
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ampacity.protocol import privacy
from ampacity.protocol.access import AccessFolder, StateFolder
from ampacity.protocol.errors import InsecureFolder
from ampacity.protocol.privacy import (
    check_private,
    check_way,
    make_private,
    read_secret,
    read_token_file,
    write_secret,
)
from ampacity.protocol.redacting import redacted
from ampacity.protocol.tls import KeyPair

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files to others")
STRANGER = 54321


@pytest.fixture
def private(tmp_path: Path) -> Path:
    folder = tmp_path / "way" / "private"
    make_private(folder)
    return folder


@pytest.fixture
def token(private: Path) -> Path:
    path = private / "some.token"
    write_secret(path, b"amp1.worker.token\n")
    return path


class TestTheWay:
    @pytest.mark.parametrize("mode", [0o777, 0o757, 0o707])
    def test_a_folder_above_that_all_may_write_to(self, private: Path, mode: int) -> None:
        private.parent.chmod(mode)
        with pytest.raises(InsecureFolder, match=f"chmod go-w {private.parent}"):
            check_private(private)
        for create in (AccessFolder(private).create, StateFolder(private).create):
            with pytest.raises(InsecureFolder):
                create()
        private.parent.chmod(0o1777)
        check_private(private)  # as /tmp: others rename only what is theirs

    def test_a_folder_above_that_others_may_read(self, private: Path) -> None:
        private.parent.chmod(0o755)
        check_private(private)

    def test_groups(self, private: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        private.parent.chmod(0o775)
        own = pwd.getpwuid(os.geteuid()).pw_name
        os.chown(private.parent, -1, os.getegid())

        def group_is(name: str, *members: str) -> None:
            found = grp.struct_group((name, "x", 7, list(members)))
            monkeypatch.setattr(grp, "getgrgid", lambda gid: found)

        monkeypatch.setattr(privacy, "_nobody_elses_group", of_any_number(privacy))
        group_is(own, own)
        check_way(private)
        group_is(own, own, "somebody")
        with pytest.raises(InsecureFolder, match="go-w"):
            check_way(private)
        group_is("users")
        with pytest.raises(InsecureFolder, match="go-w"):
            check_way(private)

        def unknown(gid: int) -> Any:
            raise KeyError(gid)

        monkeypatch.setattr(grp, "getgrgid", unknown)
        check_way(private)  # a number that a container was started with

    @root_only
    def test_a_folder_above_of_another_user(self, private: Path) -> None:
        os.chown(private.parent, STRANGER, -1)
        with pytest.raises(InsecureFolder, match=rf"{private.parent}, .*another user.*{STRANGER}"):
            check_private(private)

    @root_only
    def test_a_link_of_another_user(self, private: Path, tmp_path: Path) -> None:
        common = tmp_path / "common"
        common.mkdir()
        common.chmod(0o1777)
        link = common / "link"
        link.symlink_to(private)
        check_private(link)
        os.chown(link, STRANGER, -1, follow_symlinks=False)
        with pytest.raises(InsecureFolder, match=f"{link} is a link of another user"):
            check_private(link)

    def test_a_link_to_what_can_be_replaced(self, private: Path, tmp_path: Path) -> None:
        link = tmp_path / "link"
        link.symlink_to(private)
        check_private(link)
        private.parent.chmod(0o777)
        with pytest.raises(InsecureFolder, match=f"chmod go-w {private.parent}"):
            check_private(link)


class TestSecrets:
    def test_written_under_any_mask(self, private: Path) -> None:
        old = os.umask(0)
        try:
            write_secret(private / "new" / "key", b"key")
        finally:
            os.umask(old)
        assert (private / "new").stat().st_mode & 0o777 == 0o700
        assert (private / "new" / "key").stat().st_mode & 0o777 == 0o600
        assert read_secret(private / "new" / "key") == b"key"

    @pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o622])
    def test_one_that_others_can_reach(self, token: Path, mode: int) -> None:
        token.chmod(mode)
        with pytest.raises(InsecureFolder, match=f"chmod 600 {token}"):
            read_secret(token)

    def test_one_in_a_folder_that_all_may_write_to(self, token: Path) -> None:
        token.parent.chmod(0o777)
        with pytest.raises(InsecureFolder, match=f"chmod go-w {token.parent}"):
            read_secret(token)

    @root_only
    def test_one_of_another_user(self, token: Path) -> None:
        os.chown(token, STRANGER, -1)
        with pytest.raises(InsecureFolder, match="another user"):
            read_secret(token)

    def test_the_key(self, private: Path) -> None:
        KeyPair.load_or_make(private / "key.pem")
        (private / "key.pem").chmod(0o644)
        with pytest.raises(InsecureFolder, match="chmod 600"):
            KeyPair.load_or_make(private / "key.pem")

    @pytest.mark.parametrize("name", ["store", "store/values", "joined"])
    def test_folders_within_the_state(self, private: Path, name: str) -> None:
        (private / name).mkdir(parents=True, mode=0o700)
        (private / "store").mkdir(exist_ok=True)
        (private / "store").chmod(0o700)
        StateFolder(private).create()
        (private / name).chmod(0o750)
        with pytest.raises(InsecureFolder, match=f"chmod 700 {private / name}"):
            StateFolder(private).create()

    def test_the_database(self, private: Path) -> None:
        (private / "store").mkdir(mode=0o700)
        (private / "store" / "queue.db").touch(0o644)
        with pytest.raises(InsecureFolder, match=r"chmod 600 .*queue.db"):
            StateFolder(private).create()


class TestTokenFiles:
    def test_ones_own(self, token: Path) -> None:
        assert read_token_file(token) == "amp1.worker.token\n"

    @pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o666])
    def test_one_that_others_can_read(self, token: Path, mode: int) -> None:
        token.chmod(mode)
        with pytest.raises(InsecureFolder, match=f"chmod 600 {token}"):
            read_token_file(token)

    def test_by_a_link(self, token: Path, tmp_path: Path) -> None:
        (tmp_path / "link").symlink_to(token)
        assert read_token_file(tmp_path / "link")
        token.chmod(0o644)
        with pytest.raises(InsecureFolder):
            read_token_file(tmp_path / "link")

    def test_in_a_folder_that_all_may_write_to(self, token: Path) -> None:
        token.parent.chmod(0o777)
        with pytest.raises(InsecureFolder, match="go-w"):
            read_token_file(token)

    @root_only
    def test_of_another_user(self, token: Path) -> None:
        os.chown(token, STRANGER, -1)
        with pytest.raises(InsecureFolder, match="another user"):
            read_token_file(token)

    def test_roots_for_a_group_of_ours(self, token: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        about = os.stat_result((0o100640, 0, 0, 1, 0, os.getegid(), 10, 0, 0, 0))
        monkeypatch.setattr(os, "geteuid", lambda: STRANGER)
        privacy._check_token_file(token, about)
        others = os.stat_result((0o100644, 0, 0, 1, 0, os.getegid(), 10, 0, 0, 0))
        with pytest.raises(InsecureFolder, match="others can read"):
            privacy._check_token_file(token, others)

    def test_a_pipe(self, tmp_path: Path) -> None:
        reading, writing = os.pipe()
        os.write(writing, b"amp1.x")
        os.close(writing)
        try:
            assert read_token_file(Path(f"/dev/fd/{reading}")) == "amp1.x"
        finally:
            os.close(reading)

    def test_as_engines_mount_it(self, read_only: Path) -> None:
        """0644 or 0444, of root, on a read-only mount, by links: Kubernetes and Docker."""
        assert read_token_file(read_only / "token") == "amp1.x"

    def test_missing(self, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError):
            read_token_file(tmp_path / "none")


@pytest.fixture
def read_only(tmp_path: Path) -> Iterator[Path]:
    """A read-only mount with a token in it, as a secret's volume looks."""
    folder = tmp_path / "secret"
    folder.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", "size=64k,mode=755", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(words, check=False).returncode:
        pytest.skip("needs the right to mount a tmpfs")
    try:
        (folder / "..data").mkdir()
        (folder / "..data" / "token").write_text("amp1.x")
        (folder / "..data" / "token").chmod(0o644)
        (folder / "token").symlink_to("..data/token")
        with pytest.raises(InsecureFolder):
            read_token_file(folder / "token")
        subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def of_any_number(module: Any) -> Any:
    """What is asked of groups but root's."""
    asked = module._nobody_elses_group
    return lambda gid: asked(gid or 7)


def test_redacted() -> None:
    whole = "amp1.worker." + "k" * 43 + ".idididid." + "s" * 43 + ".checksum"
    assert redacted(f"join 'host:8786#{whole}' now") == "join 'host:8786#amp1.(hidden)' now"
    assert redacted(whole[:80]) == "amp1.(hidden)"
    for harmless in ("", "no token", "one looks like amp1.worker.….….…", "amp1.client.half"):
        assert redacted(harmless) == harmless


def test_nobody_is_told_to_close_a_folder_of_everybody(tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o1777)
    with pytest.raises(InsecureFolder, match="name a folder of your own inside it") as refused:
        check_private(shared)
    assert "chmod" not in str(refused.value)
