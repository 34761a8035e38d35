"""Running the peers, each in a fresh process, and saying which cannot be had here."""

from __future__ import annotations

from typing import Any

import attrs

from ..peers.peer import PEERS, peer_class
from ..ways import CELERY, DASK, RAY
from .fresh import Failed, run
from .measured import Measured
from .plan import Plan
from .program import say

NAMES = {
    "dask": DASK,
    "ray": RAY,
    "celery": CELERY,
    "ipyparallel": "ipyparallel",
    "executor": "ProcessPoolExecutor",
    "ampoule": "ampoule",
    "threads": "threads",
}
SECONDS = 120
"""Of one question, the start of the peer included."""


@attrs.frozen
class Rival:
    """A peer, started in one of its ways."""

    module: str
    mode: str
    meaning: str

    @property
    def way(self) -> str:
        return f"{NAMES[self.module]}, {self.mode}"

    def ask(self, plan: Plan, what: str, *words: object) -> dict[str, Any]:
        """What it answers to one question of ``peers.peer``, in a fresh process."""
        program = "peers.peer"
        return run(program, self.module, self.mode, what, plan.slots, *words, seconds=SECONDS)


def rivals(measured: Measured) -> list[Rival]:
    """Those that are installed here; a note for each that is not."""
    found = []
    for module in PEERS:
        try:
            kind = peer_class(module)
        except ImportError as e:
            measured.notes.append(f"{NAMES[module]} was not measured: {e}.")
            continue
        found += [Rival(module, mode, meaning) for mode, meaning in kind.modes.items()]
    return found


def try_to(measured: Measured, rival: Rival, plan: Plan, *words: object) -> dict[str, Any] | None:
    """What a rival answers; a note, and None, where it cannot."""
    what, *rest = words
    try:
        return rival.ask(plan, str(what), *rest)
    except Failed as failure:
        last = str(failure).strip().splitlines()[-1]
        note = f"{rival.way} was not measured: {last.rstrip('.:'):.200}."
        if note not in measured.notes:
            measured.notes.append(note)
        say(f"{rival.way}: {failure}")
        return None
