"""Who is greeted, who waits and who has to go, at which time."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from ampacity.coordinator.antechamber import OWN_SECOND, STEP_SECONDS, Antechamber
from ampacity.coordinator.suspects import FREE, Suspects
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule


@pytest.fixture
def suspects() -> Suspects:
    return Suspects()


@pytest.fixture
def room(suspects: Suspects) -> Antechamber[str]:
    """With two places, and four in line."""
    return Antechamber(2, 4, suspects)


def come(room: Antechamber[str], *guests: str, now: float = 0.0) -> list[str | None]:
    """``a1`` comes from ``a``."""
    return [room.arrive(guest, guest[0], now) for guest in guests]


def admitted(room: Antechamber[str], now: float = 0.0) -> list[str]:
    found = []
    while (guest := room.admit(now)) is not None:
        found.append(guest)
    return found


def test_as_many_as_there_are_places(room: Antechamber[str]) -> None:
    come(room, "a1", "a2", "a3")
    assert admitted(room) == ["a1", "a2"]
    assert (room.greeted, room.waiting) == (2, 1)
    room.leave("a1", "a")
    assert admitted(room) == ["a3"]


def test_the_addresses_are_served_in_turn(room: Antechamber[str]) -> None:
    come(room, "a1", "a2", "a3", "b1")
    assert admitted(room) == ["a1", "b1"]
    room.leave("a1", "a")
    come(room, "c1")
    assert admitted(room) == ["a2"]
    room.leave("a2", "a")
    assert admitted(room) == ["c1"]


def test_of_a_line_that_is_full_the_last_of_the_longest_goes(room: Antechamber[str]) -> None:
    assert come(room, "a1", "a2", "a3", "b1") == [None] * 4
    assert come(room, "c1", "a4") == ["a3", "a4"]
    assert (room.waiting, room.line()) == (4, ["a1", "a2", "b1", "c1"])


def test_room_is_made_by_the_busiest_address_after_its_second(room: Antechamber[str]) -> None:
    come(room, "a1", "a2")
    admitted(room)
    assert room.make_room(10.0) is None  # nobody waits
    come(room, "b1", now=10.0)
    assert room.make_room(10.0) == "a1"
    assert admitted(room, 10.0) == ["b1"]
    come(room, "b2", now=10.0)
    assert room.make_room(10.0) == "a2"
    assert admitted(room, 10.0) == ["b2"]
    come(room, "c1", now=10.0)
    assert room.make_room(10.0 + OWN_SECOND - 0.01) is None
    assert room.make_room(10.0 + OWN_SECOND) == "b1"


def test_who_comes_forward_has_time_for_it(room: Antechamber[str]) -> None:
    come(room, "a1", "a2", "b1")
    admitted(room)
    room.forward("b1", "b", 0.75)
    room.forward("a1", "a", 0.5)
    assert room.make_room(0.25 + STEP_SECONDS) is None
    assert room.make_room(0.5 + STEP_SECONDS) == "a1"


def test_who_has_spoken_passes_the_silent_of_his_address(room: Antechamber[str]) -> None:
    come(room, "a1", "a2", "a3", "b1")
    speaks = {"a3"}.__contains__
    assert room.admit(0.0, speaks) == "a3"
    assert room.admit(0.0, speaks) == "b1"  # its turn, though it is silent
    assert (room.line(), room.waiting) == (["a1", "a2"], 2)


def test_an_address_that_failed_waits_and_the_others_pass_it(
    room: Antechamber[str], suspects: Suspects
) -> None:
    for _ in range(FREE + 2):
        suspects.failed("a", 0.0)
    come(room, "a1", "b1")
    assert admitted(room, 0.1) == ["b1"]
    assert admitted(room, 0.2) == ["a1"]


def test_time_in_which_this_process_stood_still_counts_for_nobody(room: Antechamber[str]) -> None:
    come(room, "a1", "a2")
    admitted(room)
    come(room, "b1", now=30.0)
    room.stood_still(30.0)
    assert room.make_room(30.5) is None
    assert room.make_room(31.0) == "a1"


class Door(RuleBasedStateMachine):
    """Against a plain list of who is where."""

    def __init__(self) -> None:
        super().__init__()
        self.suspects = Suspects()
        self.room: Antechamber[Any] = Antechamber(4, 10, self.suspects)
        self.now = 0.0
        self.count = 0
        self.waiting: list[tuple[str, int]] = []
        self.inside: dict[tuple[str, int], float] = {}

    @rule(address=st.sampled_from("abcd"))
    def arrives(self, address: str) -> None:
        self.count += 1
        guest = (address, self.count)
        self.waiting.append(guest)
        gone = self.room.arrive(guest, address, self.now)
        if len(self.waiting) <= 10:
            assert gone is None
            return
        assert gone is not None
        longest = Counter(one[0] for one in self.waiting).most_common(1)[0][1]
        assert sum(one[0] == gone[0] for one in self.waiting) == longest
        self.waiting.remove(gone)

    @rule()
    def admits(self) -> None:
        guest = self.room.admit(self.now)
        if guest is None:
            assert len(self.inside) == 4 or all(
                self.suspects.delay(one[0], self.now) for one in self.waiting
            )
            return
        first = next(one for one in self.waiting if one[0] == guest[0])
        assert guest == first
        self.waiting.remove(guest)
        self.inside[guest] = self.now

    @rule()
    def makes_room(self) -> None:
        gone = self.room.make_room(self.now)
        if gone is not None:
            assert self.waiting
            assert self.now >= self.inside.pop(gone) + OWN_SECOND
            assert len(self.inside) == 3

    @rule(data=st.data(), failed=st.booleans())
    def leaves(self, data: st.DataObject, failed: bool) -> None:
        everybody = [*self.waiting, *self.inside]
        if everybody:
            guest = data.draw(st.sampled_from(everybody))
            self.room.leave(guest, guest[0])
            self.inside.pop(guest, None)
            if guest in self.waiting:
                self.waiting.remove(guest)
            elif failed:
                self.suspects.failed(guest[0], self.now)

    @rule(seconds=st.floats(0, 3))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @invariant()
    def bounds_hold(self) -> None:
        assert self.room.greeted == len(self.inside) <= 4
        assert self.room.waiting == len(self.waiting) <= 10
        assert sorted(self.room.line()) == sorted(self.waiting)

    def teardown(self) -> None:
        """Whatever came before, everybody gets in at last."""
        for _ in range(20):
            self.now += 60.0
            while self.room.make_room(self.now) is not None or self.room.admit(self.now):
                pass
        assert self.room.waiting == 0


Door.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestDoor = Door.TestCase
