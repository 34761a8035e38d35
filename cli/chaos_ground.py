"""What some faults need of the machine: a small disk, a network namespace, a bent clock, strace.

Everything that is made here is taken away by ``clear``. All of it blocks, and runs in threads.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

DISK = "192m"
"""The size of the coordinator's disk, where it is to become full: well above what it keeps free."""

_FILL = 1 << 20
_FAKETIME = (
    "/usr/lib/*/faketime/libfaketimeMT.so.1",
    "/usr/lib*/faketime/libfaketimeMT.so.1",
    "/usr/local/lib/faketime/libfaketimeMT.so.1",
)


def missing(fault: str, durable: bool) -> str | None:
    """Why a fault cannot be had here; None if it can."""
    if fault in ("kill-coordinator", "full-disk", "failed-sync") and not durable:
        return "the coordinator keeps its queue in memory"
    if fault in ("full-disk", "cut-network") and (sys.platform != "linux" or os.geteuid() != 0):
        return "it needs root, on Linux"
    if fault == "cut-network" and shutil.which("ip") is None:
        return "it needs iproute2"
    if fault == "failed-sync" and shutil.which("strace") is None:
        return "it needs strace"
    if fault == "clock" and not clock_library():
        return "it needs libfaketime (apt install libfaketime)"
    return None


def clock_library() -> str:
    """The library that bends a process's clock; empty if it is not here."""
    for pattern in _FAKETIME:
        for path in sorted(Path("/").glob(pattern.lstrip("/"))):
            return str(path)
    return ""


class Ground:
    """What was made of these for one run."""

    def __init__(self) -> None:
        self.before: Sequence[str] = ()
        """Words before the command of who shall live in the network namespace."""
        self.here = ""
        """Our address as it is seen from there."""
        self._name = ""
        self._disk: Path | None = None
        self._filler: Path | None = None

    # -- a disk -----------------------------------------------------------------------------------

    def make_disk(self, folder: Path) -> None:
        """Mount a small file system there.

        Raises:
            OSError: that is not possible.
        """
        folder.mkdir(mode=0o700)
        options = f"size={DISK},mode=0700"
        _run("mount", "-t", "tmpfs", "-o", options, "ampacity-chaos", str(folder))
        self._disk = folder

    def fill(self) -> None:
        """Leave not one byte on it."""
        assert self._disk is not None
        self._filler = self._disk / "filler"
        with self._filler.open("ab", 0) as file:
            size = _FILL
            while size:
                try:
                    file.write(bytes(size))
                except OSError:
                    size //= 2

    def empty(self) -> None:
        """Give the room back."""
        if self._filler is not None:
            self._filler.unlink(missing_ok=True)
            self._filler = None

    # -- a network --------------------------------------------------------------------------------

    def make_network(self) -> None:
        """A network namespace with a cable to here.

        Raises:
            OSError: that is not possible.
        """
        number = os.getpid() % 16384
        net = f"10.214.{number // 64}"
        first = number % 64 * 4
        self._name = f"chaos{number}"
        self.here = f"{net}.{first + 1}"
        host, far = f"{self._name}h", f"{self._name}n"
        inside = ("netns", "exec", self._name, "ip")
        _ip("netns", "add", self._name)
        _ip("link", "add", host, "type", "veth", "peer", "name", far)
        _ip("link", "set", far, "netns", self._name)
        _ip("addr", "add", f"{self.here}/30", "dev", host)
        _ip(*inside, "addr", "add", f"{net}.{first + 2}/30", "dev", far)
        _ip(*inside, "link", "set", far, "up")
        _ip(*inside, "link", "set", "lo", "up")
        self.mend()
        self.before = ("ip", "netns", "exec", self._name)

    def cut(self) -> None:
        """No packet comes through."""
        _ip("link", "set", f"{self._name}h", "down")

    def mend(self) -> None:
        _ip("link", "set", f"{self._name}h", "up")

    # -- a disk that fails ------------------------------------------------------------------------

    def fail_sync(self, pid: int, seconds: float) -> None:
        """Let the next fsync of a process fail, if one comes within this time."""
        calls = "fsync,fdatasync"
        words = ["strace", "-f", "-qq", "-o", os.devnull, "-p", str(pid), "-e", f"trace={calls}"]
        words += ["-e", f"inject={calls}:error=EIO:when=1"]
        tracer = subprocess.Popen(words, stderr=subprocess.DEVNULL)  # noqa: S603  # our own words
        until = time.monotonic() + seconds
        while tracer.poll() is None and time.monotonic() < until:
            time.sleep(0.05)
        tracer.terminate()
        tracer.wait()

    # -- the end ----------------------------------------------------------------------------------

    def clear(self) -> None:
        """Take away what was made."""
        with contextlib.suppress(OSError):
            self.empty()
        if self._disk is not None:
            _try("umount", "-l", str(self._disk))
        if self._name:
            _try("ip", "link", "del", f"{self._name}h")
            _try("ip", "netns", "del", self._name)


def _ip(*words: str) -> None:
    _run("ip", *words)


def _run(*words: str) -> None:
    try:
        subprocess.run(words, check=True, capture_output=True)  # noqa: S603  # our own words
    except subprocess.CalledProcessError as e:
        why = e.stderr.decode(errors="replace").strip()
        raise OSError(f"{' '.join(words)}: {why}") from None


def _try(*words: str) -> None:
    with contextlib.suppress(OSError):
        _run(*words)
