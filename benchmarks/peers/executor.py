"""``concurrent.futures.ProcessPoolExecutor``: one machine, no network, a pipe."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import Any, ClassVar

from ..ways import AS_DOCUMENTED, TUNED
from .peer import Peer


class Running(Peer):
    modes: ClassVar = {
        AS_DOCUMENTED: "submit; map with its chunks of one",
        TUNED: "the same submit; map with chunks of 100",
    }

    def start(self) -> None:
        self._pool = ProcessPoolExecutor(self.slots)

    def stop(self) -> None:
        self._pool.shutdown()

    def run(self, function: Callable[[Any], Any], arguments: Sequence[Any]) -> list[Any]:
        futures = [self._pool.submit(function, one) for one in arguments]
        return [future.result() for future in futures]

    def mapped(self, function: Callable[[Any], Any], arguments: Sequence[Any]) -> list[Any]:
        size = 100 if self.mode == TUNED else 1
        return list(self._pool.map(function, arguments, chunksize=size))
