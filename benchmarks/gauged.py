"""A service of the command line, as it is, with instruments in its process.

``python -m ampacity.benchmarks.gauged SOCKET coordinator --ephemeral`` runs ``ampacity
coordinator --ephemeral`` and answers at the UNIX socket: the lag of its loop as a histogram, its
CPU seconds, its children's, its memory. The instruments cost it a tick of 5 ms and a look at its
memory every 50 ms, less than a hundredth of a core.
"""

from __future__ import annotations

import cProfile
import json
import os
import resource
import sys
from pathlib import Path
from typing import Any

import psutil

MEMORY_SECONDS = 0.05


class Gauge:
    """What is measured in this process, between ``reset`` and ``read``."""

    def __init__(self, reactor: Any, profile: str | None) -> None:
        from ..loopwatch import LagMeter

        self._reactor = reactor
        self._lag = LagMeter(reactor)
        self._process = psutil.Process()
        self._cpu = 0.0
        self._children = 0.0
        self._peak = 0
        self._call: Any = None
        self._profile_to = profile
        self._profile: cProfile.Profile | None = None

    def reset(self) -> dict[str, Any]:
        """Begin anew."""
        self._children = self._childrens_cpu()
        self._peak = self._memory()
        self._profile_from_here()
        if self._call is None:
            self.start()
        self._cpu = own_cpu()
        self._lag.reset()
        return {}

    def read(self) -> dict[str, Any]:
        """``lag`` as a histogram, ``longest`` lag, ``cpu`` and ``children`` in seconds, ``memory``
        and ``peak`` in bytes."""
        cpu = own_cpu() - self._cpu
        lag, longest = self._lag.histogram(), self._lag.summary()["max"]
        self._profile_so_far()
        memory = self._memory()
        return {
            "lag": lag,
            "longest": longest,
            "cpu": cpu,
            "children": self._childrens_cpu() - self._children,
            "memory": memory,
            "peak": max(self._peak, memory),
        }

    def memory(self) -> dict[str, Any]:
        """``memory`` alone."""
        return {"memory": self._memory()}

    def start(self) -> None:
        self._lag.start()
        self._look()

    def pause(self) -> dict[str, Any]:
        """Use nothing of the processor until ``reset``."""
        self._lag.stop()
        if self._call is not None:
            self._call.cancel()
            self._call = None
        return {}

    def _look(self) -> None:
        self._peak = max(self._peak, self._memory())
        self._call = self._reactor.callLater(MEMORY_SECONDS, self._look)

    def _memory(self) -> int:
        return int(self._process.memory_info().rss)

    def _childrens_cpu(self) -> float:
        """Of those that live, and of those that have ended."""
        ended = resource.getrusage(resource.RUSAGE_CHILDREN)
        seconds = ended.ru_utime + ended.ru_stime
        for child in self._process.children(recursive=True):
            try:
                times = child.cpu_times()
            except psutil.Error:
                continue
            seconds += times.user + times.system
        return seconds

    def _profile_from_here(self) -> None:
        if self._profile_to is not None:
            self._profile_so_far()
            self._profile = cProfile.Profile()
            self._profile.enable()

    def _profile_so_far(self) -> None:
        if self._profile is not None and self._profile_to is not None:
            self._profile.disable()
            self._profile.dump_stats(self._profile_to)
            self._profile = None


def own_cpu() -> float:
    """CPU seconds of this process so far, threads included."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def answer_at(reactor: Any, path: str, profile: str | None) -> None:
    """Answer ``reset``, ``read``, ``memory`` and ``pause``, a line each, with a line of JSON."""
    from twisted.internet.protocol import Factory
    from twisted.protocols.basic import LineReceiver

    gauge = Gauge(reactor, profile)
    asked = {name.encode(): getattr(gauge, name) for name in ("reset", "read", "memory", "pause")}

    class Answering(LineReceiver):
        delimiter = b"\n"

        def lineReceived(self, line: bytes) -> None:
            self.sendLine(json.dumps(asked[line]()).encode())  # type: ignore[no-untyped-call]

    reactor.listenUNIX(path, Factory.forProtocol(Answering), mode=0o600)
    gauge.start()


def main(path: str, *words: str) -> int:
    from twisted.internet import reactor as installed

    from ..cli.entry import main as command_line

    reactor: Any = installed
    folder = os.environ.get("AMPACITY_BENCH_PROFILE")
    profile = None if folder is None else str(Path(folder) / f"{Path(path).name}.prof")
    reactor.callWhenRunning(answer_at, reactor, path, profile)
    return command_line(words)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
