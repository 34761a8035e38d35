"""What a service tells the process that supervises it, by systemd's protocol (sd_notify(3)).

Datagrams to the socket in ``NOTIFY_SOCKET``: that the service is ready, what it does, that it
lives, that it ends. Jobs are not to speak for us, so the variables are taken out of the
environment before the first child is made.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import MutableMapping
from typing import Any

import attrs
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

_VARIABLES = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")


@attrs.define(eq=False)
class Supervisor:
    """Who started this service and asked to be told; nobody, where ``address`` is empty."""

    _log = Logger()

    reactor: Any
    address: str = ""
    """The path of a socket; an abstract one begins with ``@`` or a null."""
    watchdog: float | None = None
    """Seconds within which a sign of life is expected."""
    _alive: LoopingCall | None = None

    @classmethod
    def of_environment(
        cls, reactor: Any, environ: MutableMapping[str, str] = os.environ
    ) -> Supervisor:
        """The one that the environment names, which does not name it any more after that."""
        address, interval, process = (environ.pop(name, "") for name in _VARIABLES)
        ours = process in ("", str(os.getpid()))
        watchdog = int(interval) / 1e6 if address and ours and interval.isdigit() else None
        return cls(reactor, address, watchdog or None)

    def ready(self, status: str = "") -> None:
        """The service works from now on; signs of life follow, where they are asked for."""
        self._tell("READY=1", *_status(status))
        if self.watchdog is not None and self._alive is None:
            self._alive = LoopingCall(self._tell, "WATCHDOG=1")
            self._alive.clock = self.reactor
            self._alive.start(self.watchdog / 3)

    def status(self, status: str) -> None:
        """What the service does now, on one line."""
        self._tell(*_status(status))

    def stopping(self, status: str = "") -> None:
        """The service ends, which may take its time; no more signs of life."""
        if self._alive is not None and self._alive.running:
            self._alive.stop()
        self._tell("STOPPING=1", *_status(status))

    def _tell(self, *assignments: str) -> None:
        if not self.address or not assignments:
            return
        try:
            _send(self.address, "\n".join(assignments).encode())
        except OSError as e:  # it is gone, or takes nothing at the moment: work goes on
            self._log.debug("the supervisor cannot be told: {why}", why=str(e))


def _status(text: str) -> tuple[str, ...]:
    return (f"STATUS={' '.join(text.split())}",) if text else ()


def _send(address: str, data: bytes) -> None:
    """One datagram, without waiting."""
    place = "\0" + address[1:] if address[0] == "@" else address
    kind = socket.SOCK_DGRAM | getattr(socket, "SOCK_CLOEXEC", 0)
    with contextlib.closing(socket.socket(socket.AF_UNIX, kind)) as door:
        door.setblocking(False)
        door.sendto(data, place)
