"""Faults of networks, disks and clocks, in their short form; see test_faults_of_processes.py."""

from __future__ import annotations

from typing import Any


def test_connections_that_are_reset(prove: Any) -> None:
    prove("reset=0.7", 6.0)


def test_connections_that_are_slow_late_and_in_slices(prove: Any) -> None:
    prove("slow=3:2,delay=3:2,slices=3:2", 7.0)


def test_links_that_are_silent_for_longer_than_a_lease(prove: Any) -> None:
    prove("silence=9:22,half-open=11:20,black-hole=10:21", 25.0)


def test_a_host_whose_network_is_cut_off(prove: Any) -> None:
    """Needs root: the last worker lives in a network namespace."""
    prove("cut-network=6:4", 9.0)


def test_a_disk_that_is_full(prove: Any) -> None:
    """Needs root: the coordinator's state lies on a small file system."""
    account = prove("full-disk=2:1.5", 10.0, tracebacks=True)
    assert account["refusals"] > 0, account


def test_wall_clocks_that_jump(prove: Any) -> None:
    """Needs libfaketime."""
    account = prove("clock=2:2", 8.0)
    assert account["again"] == 0
