"""Units of systemd for coordinator and worker, as text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import attrs

from .rendering import harmless

Role = Literal["coordinator", "worker"]

STOP_SECONDS = 60
"""Seconds from the end of the grace to SIGKILL: for the last results, and the store."""

_HEAD = {
    "coordinator": "Coordinator of ampacity, a worker pool",
    "worker": "Worker of ampacity, a worker pool",
}

_CLOSED = """\
NoNewPrivileges=yes
CapabilityBoundingSet=
ProtectSystem=full
PrivateDevices=yes
ProtectClock=yes
ProtectControlGroups=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
LockPersonality=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
SystemCallArchitectures=native"""
"""For what runs no jobs. Homes and /tmp stay as they are: backups go there."""

_JOBS = """\
ProtectSystem=full
ProtectControlGroups=yes
ProtectKernelTunables=yes"""
"""For what runs jobs: they keep what their user may do, devices, homes and sudo included."""


@attrs.frozen(kw_only=True)
class Unit:
    """What one unit is made of."""

    role: Role
    command: Sequence[str]
    """The words of the service, the program's whole path first."""
    system: bool
    """Of the machine, else of the user that asks for it."""
    user: str | None = None
    """Whose rights a service of the machine has."""
    environment: Mapping[str, str] = attrs.field(factory=dict)
    jobs: bool = True
    """Whether jobs run there."""
    grace: float = 10.0

    @property
    def name(self) -> str:
        """The name of its file."""
        return f"ampacity-{self.role}.service"

    @property
    def folder(self) -> str:
        """The name of its folder below /var/lib."""
        return "ampacity" if self.role == "coordinator" else "ampacity-worker"

    def text(self) -> str:
        """The file."""
        sections = {"Unit": self._unit(), "Service": self._service(), "Install": self._install()}
        return "\n".join(f"[{name}]\n{text}\n" for name, text in sections.items())

    def _unit(self) -> str:
        lines = [f"Description={_HEAD[self.role]}"]
        if self.system:
            lines += ["After=network-online.target", "Wants=network-online.target"]
        return "\n".join(lines)

    def _service(self) -> str:
        variables = {**self._own_environment(), **self.environment}
        lines = [
            "Type=notify",
            "NotifyAccess=main",
            # there, and only there, a dollar begins a variable
            f"ExecStart={' '.join(quoted(word).replace('$', '$$') for word in self.command)}",
            *(f"Environment={quoted(f'{name}={value}')}" for name, value in variables.items()),
            *self._place(),
            *self._ends(),
            "LimitNOFILE=65536",
            "TasksMax=infinity",
            *self._hardening(),
        ]
        return "\n".join(lines)

    def _own_environment(self) -> dict[str, str]:
        if not self.system:
            return {}
        state = {"AMPACITY_STATE": f"/var/lib/{self.folder}"}
        return state | ({"AMPACITY_ACCESS": "/run/ampacity"} if self.role == "coordinator" else {})

    def _place(self) -> list[str]:
        if not self.system:
            return []
        lines = [f"User={self.user}"] if self.user else []
        lines += [f"StateDirectory={self.folder}", "StateDirectoryMode=0700"]
        if self.role == "coordinator":
            lines += ["RuntimeDirectory=ampacity", "RuntimeDirectoryMode=0700"]
        return lines

    def _ends(self) -> list[str]:
        """SIGTERM goes to the service alone, which ends its jobs in order; SIGKILL to all."""
        stop = round(self.grace) + STOP_SECONDS
        lines = ["KillMode=mixed", "KillSignal=SIGTERM", f"TimeoutStopSec={stop}"]
        # a store of an older schema is brought to the new one first
        lines += ["TimeoutStartSec=600", "Restart=on-failure", "RestartSec=5"]
        # what no other try mends: words that do not fit; a worker's token that is refused
        refused = " 4" if self.role == "worker" else ""
        lines += [f"RestartPreventExitStatus=2{refused}"]
        # a job that takes too much memory ends alone
        lines += ["OOMPolicy=continue"] if self.jobs else []
        return [*lines, *(["WatchdogSec=60"] if self.role == "coordinator" else [])]

    def _hardening(self) -> list[str]:
        if not self.system:  # without root, these need namespaces that not every machine allows
            return [] if self.jobs else ["NoNewPrivileges=yes"]
        return (_JOBS if self.jobs else _CLOSED).splitlines()

    def _install(self) -> str:
        return f"WantedBy={'multi-user' if self.system else 'default'}.target"


def quoted(word: str) -> str:
    """A word as systemd reads it back, whatever specifiers, quotes and spaces it holds.

    Raises:
        ValueError: a unit cannot hold it.
    """
    if harmless(word) != word:  # for systemd, \r ends a line, too
        raise ValueError(
            f"a unit's words are of one line and hold no control characters: {harmless(word)}"
        )
    text = word.replace("%", "%%").replace("\\", "\\\\").replace('"', '\\"')
    plain = word and not any(character.isspace() or character in "\"'\\;" for character in word)
    return text if plain else f'"{text}"'
