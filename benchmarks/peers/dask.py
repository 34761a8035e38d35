"""Dask distributed: a scheduler, a nanny and a worker process a slot, on this machine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import dask
from distributed import Client, LocalCluster

from ..ways import AS_DOCUMENTED, TUNED
from .peer import Peer

TUNING = {
    "distributed.worker.profile.enabled": False,
    "distributed.scheduler.work-stealing": False,
    "distributed.comm.compression": None,
    "distributed.admin.event-loop-monitor": False,
}


class Running(Peer):
    """Tasks are ``pure=False``, or equal ones would run once."""

    modes: ClassVar = {
        AS_DOCUMENTED: "LocalCluster and Client; tasks by Client.submit, or Client.map",
        TUNED: "without dashboard, profiler, stealing and compression; Client.map in batches",
    }

    def start(self) -> None:
        options: dict[str, Any] = {"n_workers": self.slots, "threads_per_worker": 1}
        if self.mode == TUNED:
            dask.config.set(TUNING)
            options["dashboard_address"] = None
        self._cluster = LocalCluster(**options)
        self._client = Client(self._cluster)

    def stop(self) -> None:
        self._client.close()
        self._cluster.close()

    def run(self, function: Callable[[Any], Any], arguments: Sequence[Any]) -> list[Any]:
        futures = [self._client.submit(function, one, pure=False) for one in arguments]
        return list(self._client.gather(futures))

    def mapped(self, function: Callable[[Any], Any], arguments: Sequence[Any]) -> list[Any]:
        batch = 100 if self.mode == TUNED else None
        futures = self._client.map(function, arguments, pure=False, batch_size=batch)
        return list(self._client.gather(futures))

    def shared(self, function: Callable[[Any], Any], value: Any, times: int) -> list[Any]:
        there = self._client.scatter(value, broadcast=True)
        futures = [self._client.submit(function, there, pure=False) for _ in range(times)]
        return list(self._client.gather(futures))
