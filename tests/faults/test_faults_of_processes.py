"""Faults of processes, in their short form: nothing is lost, and nothing comes twice.

A run that fails tells the command that repeats it; ``CHAOS_SEED`` draws other ones. What needs
root, or a program that is not here, is skipped with the reason.
"""

from __future__ import annotations

from typing import Any


def test_workers_and_children_that_are_killed(prove: Any) -> None:
    prove("kill-worker=3,kill-child=1", 7.0)


def test_clients_that_are_killed_and_clients_that_stand_still(prove: Any) -> None:
    prove("kill-client=3,stop-client=4:2", 8.0)


def test_a_coordinator_that_is_killed(prove: Any) -> None:
    account = prove("kill-coordinator=3", 7.0)
    assert account["again"] == 0  # its workers kept what they held, and were believed


def test_a_coordinator_and_workers_that_are_killed(prove: Any) -> None:
    prove("kill-coordinator=4,kill-worker=3", 8.0)


def test_a_coordinator_and_children_that_stand_still(prove: Any) -> None:
    account = prove("stop-coordinator=5:4,stop-child=3:2", 9.0)
    assert account["again"] == 0


def test_a_worker_that_stands_still_for_longer_than_its_lease(prove: Any) -> None:
    prove("stop-worker=30:23", 25.0)


def test_an_fsync_of_the_coordinator_that_fails(prove: Any) -> None:
    """With strace, which may need root."""
    prove("failed-sync=4", 8.0, tracebacks=True)
