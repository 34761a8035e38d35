"""Threads of one process: for C code that gives up the interpreter's lock, and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ClassVar

from ..ways import AS_DOCUMENTED
from .peer import Peer


class Running(Peer):
    modes: ClassVar = {AS_DOCUMENTED: "ThreadPoolExecutor.submit"}

    def start(self) -> None:
        self._pool = ThreadPoolExecutor(self.slots)

    def stop(self) -> None:
        self._pool.shutdown()

    def run(self, function: Callable[[Any], Any], arguments: Sequence[Any]) -> list[Any]:
        futures = [self._pool.submit(function, one) for one in arguments]
        return [future.result() for future in futures]
