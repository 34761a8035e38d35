"""Celery with Redis, as broker and for the results; one prefork worker with a process a slot."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar

from ..ways import AS_DOCUMENTED, TUNED
from . import redis_server
from .peer import Peer

APP = f"{__package__}.celery_app"
SECONDS = 60


class Running(Peer):
    """Arguments and results are JSON, as they are by default: no arrays."""

    modes: ClassVar = {
        AS_DOCUMENTED: "celery worker --concurrency=N, task.delay, result.get",
        TUNED: "a prefetch of 64 a process, no gossip, mingle, heartbeat, events or snapshots",
    }

    def start(self) -> None:
        from . import celery_settings

        self._folder = tempfile.TemporaryDirectory(prefix="amp-")
        tuned = self.mode == TUNED
        self._processes: list[subprocess.Popen[bytes]] = []
        server, path = redis_server.start(Path(self._folder.name), tuned)
        self._processes.append(server)
        os.environ |= celery_settings.environ(path, tuned)
        words = [sys.executable, "-m", "celery", "-A", APP, "worker", "--loglevel=ERROR"]
        words += [f"--concurrency={self.slots}"]
        if tuned:
            words += ["--without-gossip", "--without-mingle", "--without-heartbeat"]
        nowhere = subprocess.DEVNULL
        worker = subprocess.Popen(words, stdout=nowhere, stderr=nowhere)
        self._processes.append(worker)
        from . import celery_app

        self._tasks = celery_app.app.tasks
        self._tasks["noop"].delay(0).get(timeout=SECONDS)

    def stop(self) -> None:
        for process in reversed(self._processes):
            process.terminate()
            process.wait(SECONDS)
        self._folder.cleanup()

    def run(self, function: Callable[[Any], Any], arguments: Sequence[Any]) -> list[Any]:
        task = self._tasks[function.__name__]
        results = [task.delay(one) for one in arguments]
        return [result.get(timeout=SECONDS) for result in results]

    def can_hold(self, size: int) -> bool:
        return False
