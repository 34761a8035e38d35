"""IPython Parallel: a controller, its schedulers, and an engine a slot, on this machine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import ipyparallel

from ..ways import AS_DOCUMENTED, TUNED
from .peer import Peer


class Running(Peer):
    modes: ClassVar = {
        AS_DOCUMENTED: "ipp.Cluster, a load-balanced view, apply_async",
        TUNED: "no database of tasks, no limit of tasks at an engine",
    }

    def start(self) -> None:
        options: dict[str, Any] = {}
        if self.mode == TUNED:
            options["controller_args"] = ["--nodb", "--hwm=0"]
        self._cluster = ipyparallel.Cluster(n=self.slots, **options)
        client = self._cluster.start_and_connect_sync(activate=False)
        self._view = client.load_balanced_view()

    def stop(self) -> None:
        self._cluster.stop_cluster_sync()

    def run(self, function: Callable[[Any], Any], arguments: Sequence[Any]) -> list[Any]:
        results = [self._view.apply_async(function, one) for one in arguments]
        return [result.get() for result in results]

    def mapped(self, function: Callable[[Any], Any], arguments: Sequence[Any]) -> list[Any]:
        size = 100 if self.mode == TUNED else 1
        return list(self._view.map_sync(function, arguments, chunksize=size))

    def can_hold(self, size: int) -> bool:
        return size < 1 << 30
