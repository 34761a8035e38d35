"""Who waits at the door, who is being greeted, and who has to make room: decisions only.

Time is in the calls. A guest comes from an address, waits in the address's own line, and gets a
place when there is one, the addresses in turn. While others wait and all places are taken, of the
address with most places the one has to go that has not come forward for longest, once it has had
its second. It may come forward a few times: bytes that trickle in keep no place.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from itertools import islice
from operator import itemgetter
from typing import Any, Final, Generic, TypeVar

from .suspects import Suspects

Guest = TypeVar("Guest", bound=Hashable)

OWN_SECOND: Final = 1.0
"""Seconds that a guest has in any case."""

STEP_SECONDS: Final = 3.0
"""Seconds for each step that he comes forward: who has begun is let finish on a busy machine."""

STEPS: Final = 3
"""Steps that count: the two of a handshake, and the first words."""


PASSED: Final = 64
"""How many silent ones somebody passes at once."""

HasSpoken = Callable[[Any], bool]


def _everybody(_: object) -> bool:
    return True


class Antechamber(Generic[Guest]):
    """``places`` guests at most are greeted at once, ``line`` at most wait."""

    def __init__(self, places: int, line: int, suspects: Suspects) -> None:
        self.waiting = 0
        self.greeted = 0
        self._places = places
        self._most = line
        self._suspects = suspects
        # by address, then by guest: since when. The first address is the next to be served.
        self._line: dict[str, dict[Guest, float]] = {}
        # by address, then by guest: until when he keeps his place in any case
        self._inside: dict[str, dict[Guest, float]] = {}

    def arrive(self, guest: Guest, address: str, now: float) -> Guest | None:
        """A guest more. Who is sent away because the line is too long: the last of the address
        that waits with most."""
        self._line.setdefault(address, {})[guest] = now
        self.waiting += 1
        if self.waiting <= self._most:
            return None
        longest = max(self._line, key=lambda one: len(self._line[one]))
        last = next(reversed(self._line[longest]))
        self.leave(last, longest)
        return last

    def admit(self, now: float, has_spoken: HasSpoken = _everybody) -> Guest | None:
        """The next one to be greeted, where there is a place for him.

        Of one address, who ``has_spoken`` passes those who have said nothing yet.
        """
        if self.greeted >= self._places:
            return None
        address = self._next(now)
        if address is None:
            return None
        line = self._line.pop(address)
        guest = _first(line, has_spoken)
        del line[guest]
        if line:
            self._line[address] = line  # its next one comes after all the others
        self.waiting -= 1
        self._inside.setdefault(address, {})[guest] = now + OWN_SECOND
        self.greeted += 1
        return guest

    def make_room(self, now: float) -> Guest | None:
        """Who has to give his place to somebody who waits; None where nobody has to yet."""
        if self.greeted < self._places or self._next(now) is None:
            return None
        busiest = max(self._inside, key=lambda one: len(self._inside[one]))
        oldest, until = min(self._inside[busiest].items(), key=itemgetter(1))
        if now < until:
            return None
        self.leave(oldest, busiest)
        return oldest

    def forward(self, guest: Guest, address: str, now: float) -> None:
        """A guest has come a step forward."""
        guests = self._inside.get(address, {})
        if guest in guests:
            guests[guest] = now + STEP_SECONDS

    def leave(self, guest: Guest, address: str) -> None:
        """A guest is gone, or has been let in."""
        if _take(self._inside, guest, address):
            self.greeted -= 1
        elif _take(self._line, guest, address):
            self.waiting -= 1

    def line(self) -> list[Guest]:
        """Everybody who waits."""
        return [guest for line in self._line.values() for guest in line]

    def stood_still(self, seconds: float) -> None:
        """Time that passed for nobody: this process was stopped."""
        for guests in self._inside.values():
            for guest in guests:
                guests[guest] += seconds

    def _next(self, now: float) -> str | None:
        """The address whose turn it is, of those that need not wait."""
        for address, line in self._line.items():
            since = next(iter(line.values()))
            if now - since >= self._suspects.delay(address, now):
                return address
        return None


def _first(line: dict[Guest, float], has_spoken: HasSpoken) -> Guest:
    """Who is next in a line; those who are passed stand at its end afterwards."""
    for guest in list(islice(line, PASSED)):
        if has_spoken(guest):
            return guest
        line[guest] = line.pop(guest)
    return next(iter(line))


def _take(places: dict[str, dict[Guest, float]], guest: Guest, address: str) -> bool:
    guests = places.get(address)
    if guests is None or guest not in guests:
        return False
    del guests[guest]
    if not guests:
        del places[address]
    return True
