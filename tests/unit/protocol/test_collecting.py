"""Garbage is looked for seldom, in processes of our own only; what there is of it still goes."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest
from ampacity.protocol import collecting
from ampacity.protocol.collecting import collect_now, collect_seldom


@pytest.fixture
def collector() -> Iterator[None]:
    before = gc.get_threshold()
    yield
    gc.set_threshold(*before)
    gc.unfreeze()


@pytest.mark.usefixtures("collector")
def test_what_is_there_at_the_start_is_not_looked_at_again() -> None:
    collect_seldom()
    assert gc.get_freeze_count() > 0
    assert gc.get_threshold() == (collecting.YOUNG, collecting.MIDDLE, collecting.OLD)


class Collector:
    """Stands for the interpreter's own."""

    def __init__(self, old: int, since: int) -> None:
        self.old = old
        self.since = since
        self.looks = 0

    def get_threshold(self) -> tuple[int, int, int]:
        return 700, 10, self.old

    def get_count(self) -> tuple[int, int, int]:
        return 0, 0, self.since

    def collect(self) -> None:
        self.looks += 1


@pytest.mark.parametrize(
    ("old", "since", "looks"),
    [
        (collecting.OLD, collecting.DUE, 1),
        (collecting.OLD, collecting.DUE - 1, 0),
        (10, 10_000, 0),  # an application's, which is left alone
    ],
)
def test_everything_is_looked_at_when_that_is_due(
    monkeypatch: pytest.MonkeyPatch, old: int, since: int, looks: int
) -> None:
    played = Collector(old, since)
    monkeypatch.setattr(collecting, "gc", played)
    collect_now()
    assert played.looks == looks
