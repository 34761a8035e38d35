"""Ray: a raylet, its servers, and worker processes, on this machine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import cycle
from typing import Any, ClassVar

import ray

from ..ways import AS_DOCUMENTED, TUNED
from .peer import Peer

ACTORS = "actors"


class Caller:
    """An actor that runs whatever it is given."""

    def call(self, function: Callable[[Any], Any], argument: Any) -> Any:
        return function(argument)


class Running(Peer):
    modes: ClassVar = {
        AS_DOCUMENTED: "ray.init, ray.remote, ray.get",
        TUNED: "without dashboard, logs and retries",
        ACTORS: "the same, and one actor a slot, called in turns: no scheduling of tasks",
    }

    def start(self) -> None:
        options: dict[str, Any] = {"num_cpus": self.slots}
        if self.mode != AS_DOCUMENTED:
            options |= {"include_dashboard": False, "log_to_driver": False}
        ray.init(**options)
        self._remote: dict[Any, Any] = {}
        self._actors: list[Any] = []
        if self.mode == ACTORS:
            self._actors = [ray.remote(Caller).remote() for _ in range(self.slots)]

    def stop(self) -> None:
        ray.shutdown()

    def run(self, function: Callable[[Any], Any], arguments: Sequence[Any]) -> list[Any]:
        if self._actors:
            turns = zip(cycle(self._actors), arguments)
            return list(ray.get([actor.call.remote(function, one) for actor, one in turns]))
        remote = self._task(function)
        return list(ray.get([remote.remote(one) for one in arguments]))

    def shared(self, function: Callable[[Any], Any], value: Any, times: int) -> list[Any]:
        """Put once into the memory that all processes of the machine share."""
        return self.run(function, [ray.put(value)] * times)

    def _task(self, function: Callable[[Any], Any]) -> Any:
        if function not in self._remote:
            task = ray.remote(function)
            self._remote[function] = (
                task if self.mode == AS_DOCUMENTED else task.options(max_retries=0)
            )
        return self._remote[function]
