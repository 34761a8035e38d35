"""What every peer can be asked for, and the program that asks it.

``python -m ampacity.benchmarks.peers.peer NAME MODE WHAT SLOTS WORDS...`` starts one peer in this
fresh process and prints one JSON object. WHAT is ``rates``, with the number of single jobs;
``grains``, with the words that ``metg`` gives; ``array`` or ``shared``, with bytes.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from ..jobs import digest, echo, noop, spin, total
from ..kit.grain import pieces, point
from ..kit.kernel import Setting, Yardstick, loops_for

TRIAL, SECONDS, MOST = 300, 2.0, 40_000
"""Jobs from which the rate is guessed, and how long the measured ones shall take."""
GRAIN_SECONDS = 1.5
READERS = 8
PIECE, PIECES = 1 << 20, 400


class Peer(ABC):
    """One system, running; a context in which jobs may be given to it."""

    modes: ClassVar[dict[str, str]]
    """How it can be started, and what that means."""

    def __init__(self, mode: str, slots: int) -> None:
        self.mode = mode
        self.slots = slots

    def __enter__(self) -> Peer:
        try:
            self.start()
        except BaseException:
            with contextlib.suppress(Exception):  # what had not begun cannot be stopped
                self.stop()
            raise
        return self

    def __exit__(self, *_why: object) -> None:
        self.stop()

    @abstractmethod
    def start(self) -> None:
        """Return when jobs may come."""

    @abstractmethod
    def stop(self) -> None:
        """End all processes."""

    @abstractmethod
    def run(self, function: Callable[[Any], Any], arguments: Sequence[Any]) -> list[Any]:
        """One submission a job, without waiting in between; then all results, in order."""

    def mapped(self, function: Callable[[Any], Any], arguments: Sequence[Any]) -> list[Any] | None:
        """The same with what it has for many jobs at once; None where it has nothing."""
        return None

    def can_hold(self, size: int) -> bool:
        """Whether a value of so many bytes may travel with a job."""
        return True

    def shared(self, function: Callable[[Any], Any], value: Any, times: int) -> list[Any]:
        """One value for many jobs, in the way that the peer has for it."""
        return self.run(function, [value] * times)


PEERS = ("dask", "ray", "celery", "ipyparallel", "executor", "ampoule", "threads")


def peer_class(name: str) -> type[Peer]:
    """The class ``Running`` of the module of that name.

    Raises:
        ImportError: the peer is not installed.
    """
    module = importlib.import_module(f"{__package__}.{name}")
    running: type[Peer] = module.Running
    return running


def timed(what: Callable[..., Any], *words: Any) -> float:
    started = time.perf_counter()
    what(*words)
    return time.perf_counter() - started


def rates(peer: Peer, singles: str) -> dict[str, Any]:
    """``rate``, ``singles``, and ``mapped``, jobs a second, where there is such a way."""
    peer.run(noop, range(TRIAL))
    guess = TRIAL / timed(peer.run, noop, range(TRIAL))
    count = max(TRIAL, min(MOST, round(guess * SECONDS)))
    found: dict[str, Any] = {"rate": count / timed(checked, peer.run, count)}
    found["singles"] = [timed(peer.run, noop, [number]) for number in range(int(singles))]
    if peer.mapped(noop, range(TRIAL)) is not None:
        guess = TRIAL * 10 / timed(peer.mapped, noop, range(TRIAL * 10))
        count = max(TRIAL, min(10 * MOST, round(guess * SECONDS)))
        found["mapped"] = count / timed(checked, peer.mapped, count)
    return found


def checked(run: Callable[..., Any], count: int) -> None:
    assert list(run(noop, range(count))) == list(range(count))


def grains(peer: Peer, *words: str) -> dict[str, Any]:
    """As ``programs.grains``, with fewer jobs where the peer would take too long for them."""
    peer.run(noop, range(TRIAL))
    limit = GRAIN_SECONDS * TRIAL / timed(peer.run, noop, range(TRIAL))
    found = []
    with Yardstick(peer.slots) as yardstick:
        setting = Setting(yardstick)
        rate = yardstick.rate() / peer.slots
        for word in words:
            duration, _, jobs = word.partition(":")
            count = max(2 * peer.slots, min(int(jobs), round(limit)))
            loops = loops_for(float(duration), rate)
            measured = [
                (part, timed(peer.run, spin, [loops] * part), setting.speed())
                for part in pieces(float(duration), count, peer.slots)
            ]
            found.append(point(loops, peer.slots, measured))
    return {"grains": found}


def array(peer: Peer, size: str) -> dict[str, Any]:
    """``seconds`` that an array takes to a process and back; nothing where it cannot go."""
    import numpy as np

    if not peer.can_hold(int(size)):
        return {}
    peer.run(echo, [np.zeros(1 << 17)])
    return {"seconds": timed(peer.run, echo, [np.random.default_rng().random(int(size) // 8)])}


def shared(peer: Peer, size: str) -> dict[str, Any]:
    """``seconds`` until several jobs have read the same array; ``digests``, bytes a second of C
    code that gives up the interpreter's lock, each job on a piece of its own."""
    import numpy as np

    peer.run(noop, range(TRIAL))
    found: dict[str, Any] = {}
    if peer.can_hold(PIECE):
        pieces = [np.random.default_rng().bytes(PIECE) for _ in range(PIECES)]
        found["digests"] = PIECE * PIECES / timed(peer.run, digest, pieces)
    if peer.can_hold(int(size)):
        value = np.random.default_rng().random(int(size) // 8)
        found["seconds"] = timed(peer.shared, total, value, READERS)
    return found


def main(name: str, mode: str, what: str, slots: str, *words: str) -> None:
    asked: dict[str, Callable[..., dict[str, Any]]] = {
        "rates": rates,
        "grains": grains,
        "array": array,
        "shared": shared,
    }
    with peer_class(name)(mode, int(slots)) as peer:
        found = asked[what](peer, *words)
    print(f"\n{json.dumps(found)}", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
