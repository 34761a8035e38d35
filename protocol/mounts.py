"""On what kind of file system a folder is: a store must not be on a network's.

There, locks and ``fsync`` do not mean what they mean on a disk, and memory is not shared.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from .errors import StoreRefused

_NETWORK = re.compile(
    r"nfs4?|cifs|smb[23]?|smbfs|ncpfs|afs|afpfs|openafs|auristorfs|coda|ceph|glusterfs|lustre|gpfs|"
    r"beegfs|orangefs|pvfs2|panfs|wekafs|9p|davfs|webdav|ftp|"
    r"vboxsf|vmhgfs|prl_fs"  # of a virtual machine's host, over a wire of its own
)
_FUSE = re.compile(r"(?:fuse|macfuse|osxfuse)(?:[._].*)?")
_LOCAL_FUSE = re.compile(
    r"fuse\.(?:fuse-overlayfs|overlayfs|unionfs|mergerfs|bindfs|encfs|gocryptfs|cryfs|ntfs|ntfs-3g|"
    r"exfat|ext2|zfs|lxcfs)"
)
"""What of FUSE keeps its files on this machine; those of any other may be anywhere."""

_ESCAPED = re.compile(r"\\([0-7]{3})")


class Mount(NamedTuple):
    """Where a file system is mounted, and of which type it is."""

    point: str
    type: str


def check_local(folder: Path, mounts: Iterable[Mount] | None = None) -> None:
    """Blocking: see that a folder, or what there is of its parents, is on no network file system.

    Raises:
        StoreRefused: with the file system's type, and where it is mounted.
    """
    mount = nearest(folder, mounts_of_this_machine() if mounts is None else mounts)
    if mount is not None and is_network(mount.type):
        raise StoreRefused(
            f"{folder} is on a network file system ({mount.type}, mounted at {mount.point}), "
            "where nothing can be kept safe; name a folder on a disk of this machine (--state), "
            "or keep nothing on disk (--ephemeral)"
        )


def is_network(type_: str) -> bool:
    """Whether files of this type of file system may be on another machine."""
    kind = type_.lower()
    if _FUSE.fullmatch(kind):
        return not _LOCAL_FUSE.fullmatch(kind)
    return bool(_NETWORK.fullmatch(kind))


def nearest(folder: Path, mounts: Iterable[Mount]) -> Mount | None:
    """What a folder is mounted on, or will be once it is made; the last one of a place counts."""
    real = folder.resolve()
    above = {str(path): len(path.parts) for path in (real, *real.parents)}
    found, depth = None, 0
    for mount in mounts:
        if above.get(mount.point, 0) >= max(depth, 1):
            found, depth = mount, above[mount.point]
    return found


def mounts_of_this_machine() -> list[Mount]:
    """Blocking: every mount, in their order."""
    try:
        table = Path("/proc/self/mountinfo").read_text(errors="surrogateescape")
    except OSError:  # not Linux
        import psutil

        return [Mount(p.mountpoint, p.fstype) for p in psutil.disk_partitions(all=True)]
    return parse_mountinfo(table)


def parse_mountinfo(table: str) -> list[Mount]:
    """The mounts of ``/proc/self/mountinfo``, see proc(5)."""
    mounts = []
    for line in table.splitlines():
        place, separator, system = line.partition(" - ")
        fields, types = place.split(" "), system.split(" ")
        if separator and len(fields) > 4 and types[0]:
            mounts.append(Mount(_ESCAPED.sub(_unescape, fields[4]), types[0]))
    return mounts


def _unescape(match: re.Match[str]) -> str:
    return chr(int(match[1], 8))
