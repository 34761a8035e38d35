"""A coordinator and its workers, as processes that are started and stopped by hand."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

PROGRAM = str(Path(sys.executable).with_name("ampacity"))
START_SECONDS = 30
STOP_SECONDS = 15
_MARK = "DEMO_OF_AMPACITY"


class Broken(Exception):
    """Something is not as it should be."""


class Cluster:
    """Everything that is started here carries a mark in its environment, to be found by it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(exist_ok=True)
        self._mark = uuid.uuid4().hex
        self._services: list[subprocess.Popen[bytes]] = []
        environ = {k: v for k, v in os.environ.items() if not k.startswith("AMPACITY_")}
        self._environ = {**environ, _MARK: self._mark}

    def __enter__(self) -> Cluster:
        return self

    def __exit__(self, *_why: object) -> None:
        self.stop()

    # -- starting -----------------------------------------------------------------------------

    def start_coordinator(self, *options: str) -> None:
        """On a free port of the loopback interface, with TLS and tokens as anywhere."""
        self._start("coordinator", "coordinator", "--listen", "tcp:127.0.0.1:0", *options)
        self.address, token = self._printed_line("worker")
        self.client_address = "#".join(self._printed_line("client"))
        self.socket_address = f"unix:{self.folder / 'access' / 'coordinator.socket'}"
        self.token_file = self.folder / "worker.token"
        self.token_file.touch(mode=0o600)
        self.token_file.write_text(token)

    def start_worker(self, name: str, slots: int) -> None:
        """A machine of its own, for all that the coordinator knows."""
        token = ["--token-file", str(self.token_file)]
        self._start(name, "join", self.address, *token, "--name", name, "--slots", str(slots))

    def wait_for_workers(self, count: int) -> None:
        deadline = time.monotonic() + START_SECONDS
        while len(self.ask("workers")) < count:
            self._check_services()
            if time.monotonic() > deadline:
                raise Broken(f"{count} workers did not join within {START_SECONDS} s")
            time.sleep(0.1)

    def _start(self, name: str, *words: str) -> None:
        with self.log(name).open("wb") as log:
            service = subprocess.Popen(
                [PROGRAM, *words],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=self._environ_of(name),
                start_new_session=True,
            )
        self._services.append(service)

    def _printed_line(self, role: str) -> tuple[str, str]:
        """The address and the token that the coordinator prints for a role."""
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            self._check_services()
            printed = self.log("coordinator").read_text()
            if found := re.search(rf"([^\s'#]+)#(amp1\.{role}\.[\w.-]+)", printed):
                return found.group(1), found.group(2)
            time.sleep(0.05)
        raise Broken(f"the coordinator did not start:\n{printed}")

    def _check_services(self) -> None:
        for service in self._services:
            if service.poll() is not None:
                words = " ".join(map(str, service.args))  # type: ignore[arg-type] # a list
                raise Broken(f"{words} ended with {service.returncode}; see {self.folder}")

    def _environ_of(self, name: str) -> dict[str, str]:
        """The coordinator and its clients share a folder; each worker has its own."""
        own = self.folder / name
        return {
            **self._environ,
            "AMPACITY_ACCESS": str(self.folder / "access"),
            "AMPACITY_STATE": str(own),
        }

    def log(self, name: str) -> Path:
        return self.folder / f"{name}.log"

    # -- using --------------------------------------------------------------------------------

    def client(self, *words: str, **options: Any) -> subprocess.Popen[str]:
        """A command of the command line, running."""
        return subprocess.Popen(
            [PROGRAM, *words],
            env=self._environ_of("client"),
            text=True,
            start_new_session=True,
            **options,
        )

    def ask(self, *words: str) -> list[Any]:
        """The lines of JSON that a command prints."""
        asked = self.client(*words, "--json", stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        printed, errors = asked.communicate(timeout=START_SECONDS)
        if asked.returncode:
            raise Broken(f"ampacity {' '.join(words)} ended with {asked.returncode}: {errors}")
        return [json.loads(line) for line in printed.splitlines()]

    @contextmanager
    def watch(self) -> Iterator[list[Any]]:
        """What ``top`` tells once a second; the list is filled when the block is left."""
        pictures: list[Any] = []
        with tempfile.TemporaryFile("w+") as told:
            top = self.client("top", "--json", stdout=told)
            try:
                yield pictures
            finally:
                top.send_signal(signal.SIGINT)
                top.wait(STOP_SECONDS)
            told.seek(0)
            pictures += [json.loads(line) for line in told if line.endswith("\n")]

    # -- stopping -----------------------------------------------------------------------------

    def stop(self) -> None:
        """Ask every service to end, the workers first, and see that it does."""
        services, self._services = self._services, []
        for service in reversed(services):
            service.terminate()
        deadline = time.monotonic() + STOP_SECONDS
        for service in reversed(services):
            try:
                service.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                continue

    def end_leftovers(self) -> Sequence[str]:
        """What still lives of all that was started here, described; it does not any more."""
        left = []
        for pid in self._marked():
            left.append(f"{pid} {_words_of(pid)}")
            os.kill(pid, signal.SIGKILL)
        return left

    def _marked(self) -> list[int]:
        mark = f"{_MARK}={self._mark}".encode()
        pids = [int(path.name) for path in Path("/proc").glob("[0-9]*")]
        return [pid for pid in pids if mark in _read(pid, "environ")]


def _words_of(pid: int) -> str:
    return _read(pid, "cmdline").replace(b"\0", b" ").decode(errors="replace").strip()


def _read(pid: int, name: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/{name}").read_bytes()
    except OSError:
        return b""
