"""This machine: its identity, the processors that may be used, its memory."""

from __future__ import annotations

import contextlib
import math
import os
import socket
import subprocess
import sys
from functools import cache
from pathlib import Path

_CGROUP = Path("/sys/fs/cgroup")


@cache
def identity() -> str:
    """Names this machine until it is started again: ``host name/boot id``. Containers differ, as
    their host names do; so do machines that share a host name."""
    return f"{socket.gethostname()}/{_boot_id()}"


def _boot_id() -> str:
    with contextlib.suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        words = ["/usr/sbin/sysctl", "-n", "kern.bootsessionuuid"]
        return subprocess.run(  # noqa: S603  # fixed words
            words, capture_output=True, text=True, timeout=5, check=True
        ).stdout.strip()
    return "unknown"


def usable_cpus(cgroup: Path = _CGROUP) -> int:
    """The processors that this process may use: by affinity, and by its cgroup's quota."""
    if hasattr(os, "sched_getaffinity"):
        count = len(os.sched_getaffinity(0))
    else:
        count = os.cpu_count() or 1
    quota = cpu_quota(cgroup)
    return count if quota is None else max(1, min(count, math.ceil(quota)))


def cpu_quota(cgroup: Path = _CGROUP) -> float | None:
    """Processors' worth of time that the cgroup grants, the least of its ancestors' (v2, v1)."""
    if not sys.platform.startswith("linux"):
        return None
    quotas = [
        quota
        for folder in _folders(cgroup)
        for quota in (_quota_v2(folder), _quota_v1(folder))
        if quota is not None
    ]
    return min(quotas, default=None)


_TABLE = Path("/proc/self/cgroup")


def _folders(root: Path, table: Path = _TABLE, what: str = "cpu") -> list[Path]:
    """The cgroup folders that hold this process for a controller, and those above them."""
    found = {root, root / what, root / "cpu,cpuacct"}
    with contextlib.suppress(OSError):
        for line in table.read_text().splitlines():
            _number, controllers, path = line.split(":", 2)
            base = root if not controllers else root / controllers
            if controllers and what not in controllers.split(","):
                continue
            place = base / path.lstrip("/")
            found.update(p for p in (place, *place.parents) if p.is_relative_to(root))
    return sorted(found)


def _quota_v2(folder: Path) -> float | None:
    with contextlib.suppress(OSError, ValueError):
        quota, period = (folder / "cpu.max").read_text().split()
        if quota != "max":
            return int(quota) / int(period)
    return None


def _quota_v1(folder: Path) -> float | None:
    with contextlib.suppress(OSError, ValueError):
        quota = int((folder / "cpu.cfs_quota_us").read_text())
        period = int((folder / "cpu.cfs_period_us").read_text())
        if quota > 0:
            return quota / period
    return None


def peak_memory(pid: int) -> int:
    """The highest resident size of a process so far, in bytes; 0 where it cannot be told."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        for line in Path(f"/proc/{pid}/status").read_bytes().splitlines():
            if line.startswith(b"VmHWM:"):
                return int(line.split()[1]) * 1024
    if not sys.platform.startswith("linux"):
        import psutil

        with contextlib.suppress(psutil.Error):
            return int(psutil.Process(pid).memory_info().rss)
    return 0


def out_of_memory_kills(cgroup: Path = _CGROUP, table: Path = _TABLE) -> int:
    """How often the kernel has killed a process of this cgroup for its memory (v2, v1)."""
    count = 0
    for folder in _folders(cgroup, table, "memory"):
        for name in ("memory.events", "memory.oom_control"):
            with contextlib.suppress(OSError, ValueError, IndexError):
                for line in (folder / name).read_text().splitlines():
                    what, number = line.split()
                    if what == "oom_kill":
                        count = max(count, int(number))
    return count
