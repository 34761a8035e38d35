"""What a service tells systemd, over a real socket."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from ampacity.cli.supervisor import Supervisor
from twisted.internet.task import Clock


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "notify"


@pytest.fixture
def door(place: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as door:
        door.bind(str(place))
        door.setblocking(False)
        yield door


def heard(door: socket.socket) -> list[str]:
    """The lines of all datagrams that have come."""
    lines: list[str] = []
    while True:
        try:
            lines += door.recv(4096).decode().splitlines()
        except BlockingIOError:
            return lines


def test_ready_status_stopping(door: socket.socket, place: Path) -> None:
    supervisor = Supervisor.of_environment(Clock(), {"NOTIFY_SOCKET": str(place)})
    supervisor.status("looks for\nthe coordinator")
    supervisor.ready("listens")
    supervisor.stopping()
    assert heard(door) == [
        "STATUS=looks for the coordinator",
        "READY=1",
        "STATUS=listens",
        "STOPPING=1",
    ]


@pytest.mark.skipif(sys.platform != "linux", reason="abstract sockets are Linux's")
def test_an_abstract_socket() -> None:
    name = f"ampacity-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as door:
        door.bind("\0" + name)
        door.setblocking(False)
        Supervisor.of_environment(Clock(), {"NOTIFY_SOCKET": "@" + name}).ready()
        assert heard(door) == ["READY=1"]


def test_signs_of_life_come_well_within_the_interval(door: socket.socket, place: Path) -> None:
    clock = Clock()
    environ = {"NOTIFY_SOCKET": str(place), "WATCHDOG_USEC": "30000000"}
    supervisor = Supervisor.of_environment(clock, environ)
    clock.advance(60)
    assert heard(door) == []  # not before it is ready
    supervisor.ready()
    assert heard(door) == ["READY=1", "WATCHDOG=1"]
    clock.pump([10.0] * 3)
    assert heard(door) == ["WATCHDOG=1"] * 3
    supervisor.stopping()
    assert heard(door) == ["STOPPING=1"]
    assert clock.getDelayedCalls() == []


def test_a_watchdog_of_another_process(door: socket.socket, place: Path) -> None:
    environ = {"NOTIFY_SOCKET": str(place), "WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}
    assert Supervisor.of_environment(Clock(), environ).watchdog is None


def test_jobs_inherit_nothing_of_it(place: Path) -> None:
    environ = {
        "NOTIFY_SOCKET": str(place),
        "WATCHDOG_USEC": "1000",
        "WATCHDOG_PID": str(os.getpid()),
        "HOME": "/",
    }
    Supervisor.of_environment(Clock(), environ)
    assert environ == {"HOME": "/"}


def test_nobody_is_told_where_nobody_asks() -> None:
    supervisor = Supervisor.of_environment(Clock(), {"WATCHDOG_USEC": "1000000"})
    supervisor.ready("listens")
    supervisor.stopping()
    assert supervisor.watchdog is None


def test_a_supervisor_that_is_gone_stops_nothing(tmp_path: Path) -> None:
    Supervisor.of_environment(Clock(), {"NOTIFY_SOCKET": str(tmp_path / "gone")}).ready("listens")
