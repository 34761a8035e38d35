"""Permits: each is begun or taken back, never both."""

from __future__ import annotations

import os
import threading

import pytest
from ampacity.workers.permits import Permits


@pytest.fixture
def permits():
    made = Permits()
    yield made
    made.close()


def test_what_is_left_is_taken_back(permits):
    permits.grant(5)
    assert os.read(permits.child_end, 1) == b"."
    assert permits.left() == 4
    assert permits.take_back() == 4
    assert permits.left() == 0
    assert permits.take_back() == 0


def test_a_whole_batch_fits(permits):
    permits.grant(256)
    assert permits.left() == 256


def test_child_and_agent_share_none(permits):
    begun = []

    def child():
        while True:
            try:
                begun.append(os.read(permits.child_end, 1))
            except BlockingIOError:
                return

    for _ in range(50):
        begun.clear()
        permits.grant(256)
        thread = threading.Thread(target=child)
        thread.start()
        taken = permits.take_back()
        thread.join()
        assert len(begun) + taken == 256
