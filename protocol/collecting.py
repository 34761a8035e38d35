"""How often the interpreter looks for garbage, in processes of our own.

It looks at all that is new each time there are 700 new things more, and at everything there is
from time to time: a quarter of what a job costs a coordinator, and with a million jobs a standstill
of a second. Records know each other in one direction only, and go when the last one that knows them
goes; what has to be looked for is little.
"""

from __future__ import annotations

import gc
from typing import Final

YOUNG: Final = 1_000
"""New things, after which these are looked at. Each is looked at twice, however many there are at
once; and whoever waits for the loop waits for that: 0.5 to 1 ms, and 5 to 10 with ten times as
many."""

MIDDLE: Final = 1
"""Such looks, after which what was new since then is looked at once more: the second time."""

OLD: Final = 25_000
"""Looks of that kind, after which everything is looked at, whatever it takes."""

DUE: Final = 250
"""Looks of that kind, after which everything may be looked at while there is little of it."""


def collect_seldom() -> None:
    """From now on in this process; what is there already is never looked at again.

    For processes of our own, at their start, and again when a service has loaded all that it needs:
    an application's collector is its own affair.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG, MIDDLE, OLD)


def collect_now() -> None:
    """Look at everything, if that is done seldom here and is due. There should be little of it."""
    if gc.get_threshold()[2] == OLD and gc.get_count()[2] >= DUE:
        gc.collect()
