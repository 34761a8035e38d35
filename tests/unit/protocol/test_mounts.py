"""On what kind of file system a folder is, and which ones a store refuses."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
from ampacity.protocol import mounts
from ampacity.protocol.access import StateFolder
from ampacity.protocol.errors import StoreRefused
from ampacity.protocol.mounts import Mount, check_local, is_network, nearest, parse_mountinfo

TABLE = """\
22 27 0:21 / /proc rw,relatime - proc proc rw
27 1 254:0 / / rw,relatime shared:1 master:2 - ext4 /dev/vda rw
28 27 0:40 / /home rw,nosuid shared:3 - autofs systemd-1 rw
29 28 0:41 / /home rw - nfs4 server:/home rw,vers=4.2
30 27 0:42 / /mnt/a\\040disk\\134of rw - fuse.sshfs me@there:/ rw
31 27 0:43 / /homes rw - xfs /dev/vdb rw
damaged
"""

REFUSED = [
    "nfs", "nfs4", "cifs", "smb3", "smbfs", "ceph", "glusterfs", "9p", "lustre", "afs", "NFS4",
    "fuse", "fuse.sshfs", "fuse.rclone", "fuse.s3fs", "fuse.glusterfs", "fuse.ceph-fuse", "davfs",
    "macfuse_sshfs", "vboxsf",
]  # fmt: skip
FINE = ["ext4", "xfs", "btrfs", "zfs", "tmpfs", "overlay", "apfs", "fuseblk", "fuse.mergerfs"]


@pytest.mark.parametrize("kind", REFUSED)
def test_a_network_file_system_is_one(kind: str) -> None:
    assert is_network(kind)


@pytest.mark.parametrize("kind", FINE)
def test_a_local_file_system_is_none(kind: str) -> None:
    assert not is_network(kind)


def test_the_table_of_mounts_is_read() -> None:
    read = parse_mountinfo(TABLE)
    assert read[1] == Mount("/", "ext4")
    assert read[4] == Mount("/mnt/a disk\\of", "fuse.sshfs")
    assert len(read) == 6


@pytest.mark.parametrize(
    ("folder", "kind"),
    [("/", "ext4"), ("/var/x", "ext4"), ("/home/me/state", "nfs4"), ("/homes/me", "xfs")],
)
def test_the_nearest_mount_counts_and_the_last_of_a_place(folder: str, kind: str) -> None:
    found = nearest(Path(folder), parse_mountinfo(TABLE))
    assert found is not None
    assert found.type == kind


def test_a_link_leads_to_where_its_files_are(tmp_path: Path) -> None:
    (tmp_path / "far").mkdir()
    (tmp_path / "link").symlink_to("far")
    table = [Mount("/", "ext4"), Mount(str(tmp_path.resolve() / "far"), "nfs4")]
    with pytest.raises(StoreRefused, match="nfs4"):
        check_local(tmp_path / "link" / "not" / "yet", table)
    check_local(tmp_path / "near", table)


def test_the_store_says_where_it_cannot_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state = StateFolder(tmp_path / "state")
    state.check_store()
    here = str(tmp_path.resolve())
    monkeypatch.setattr(mounts, "mounts_of_this_machine", lambda: [Mount(here, "fuse.sshfs")])
    with pytest.raises(StoreRefused) as refused:
        state.check_store()
    for word in (str(state.store), "fuse.sshfs", here, "--state", "--ephemeral"):
        assert word in str(refused.value)


def test_without_a_table_psutil_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*_: object, **__: object) -> str:
        raise FileNotFoundError

    monkeypatch.setattr(Path, "read_text", none)
    part = SimpleNamespace(mountpoint="/", fstype="nfs")
    monkeypatch.setattr(psutil, "disk_partitions", lambda **_: [part])
    assert mounts.mounts_of_this_machine() == [Mount("/", "nfs")]
