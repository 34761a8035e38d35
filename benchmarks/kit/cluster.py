"""A coordinator and its workers as processes: the command line's own services, with gauges."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from . import fresh
from .plan import Plan

START_SECONDS = 60
STOP_SECONDS = 20


class Cluster:
    """Started by entering it; ``slots=0`` is a coordinator without workers."""

    def __init__(
        self,
        plan: Plan,
        *,
        durable: bool = False,
        tls: bool = False,
        slots: int | None = None,
        settings: str = "",
    ) -> None:
        """``settings``: lines of the coordinator's ``config.toml``."""
        self._profile = plan.profile
        self._slots = plan.slots if slots is None else slots
        self._durable = durable
        self._tls = tls
        self._settings = settings
        self._services: list[subprocess.Popen[bytes]] = []
        self.gauges: dict[str, Path] = {}
        self.pids: dict[str, int] = {}

    def __enter__(self) -> Cluster:
        self.folder = Path(tempfile.mkdtemp(prefix="amp-"))
        try:
            self._start_all()
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()

    @property
    def address(self) -> str:
        """Where clients and workers come in, with the token where one is needed."""
        return self._client if self._tls else f"unix:{self.socket}"

    @property
    def socket(self) -> Path:
        return self.folder / "access" / "coordinator.socket"

    # -- starting ---------------------------------------------------------------------------------

    def _start_all(self) -> None:
        (self.folder / "config" / "ampacity").mkdir(parents=True)
        config = self.folder / "config" / "ampacity" / "config.toml"
        config.write_text(self._settings)
        options = [] if self._durable else ["--ephemeral"]
        if self._tls:
            options += ["--listen", "tcp:127.0.0.1:0"]
        facts = self._start("coordinator", "coordinator", *options)
        self._client = str(facts["client"])
        if self._slots:
            self._join(facts)

    def _join(self, facts: dict[str, Any]) -> None:
        words = [f"unix:{self.socket}"]
        if self._tls:
            address, _, token = str(facts["join"]).partition("#")
            file = self.folder / "worker.token"
            file.touch(mode=0o600)
            file.write_text(token)
            words = [address, "--token-file", str(file)]
        self._start("agent", "join", *words, "--name", "agent", "--slots", str(self._slots))

    def _start(self, name: str, *words: str) -> dict[str, Any]:
        """Run a service with a gauge; what it says when it is ready."""
        gauge, ready = self.folder / f"{name}.gauge", self.folder / f"{name}.json"
        with (self.folder / f"{name}.log").open("wb") as log:
            service = subprocess.Popen(
                fresh.command("gauged", gauge, *words, "--ready-file", ready),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=self._environ(name),
                start_new_session=True,
            )
        self._services.append(service)
        self.gauges[name] = gauge
        self.pids[name] = service.pid
        return self._wait_for(ready, service)

    def _wait_for(self, ready: Path, service: subprocess.Popen[bytes]) -> dict[str, Any]:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and service.poll() is None:
            if ready.exists() and (text := ready.read_text()).endswith("\n"):
                facts: dict[str, Any] = json.loads(text)
                return facts
            time.sleep(0.02)
        printed = ready.with_suffix(".log").read_text()
        raise fresh.Failed(f"{ready.stem} did not start:\n{printed}")

    def _environ(self, name: str) -> dict[str, str]:
        """Nothing of the settings of the person who measures."""
        environ = {k: v for k, v in os.environ.items() if not k.startswith("AMPACITY_")}
        if self._profile is not None:
            environ["AMPACITY_BENCH_PROFILE"] = self._profile
        return environ | {
            "AMPACITY_ACCESS": str(self.folder / "access"),
            "AMPACITY_STATE": str(self.folder / name),
            "XDG_CONFIG_HOME": str(self.folder / "config"),
        }

    # -- stopping ---------------------------------------------------------------------------------

    def _stop(self) -> None:
        """The workers first."""
        for service in reversed(self._services):
            service.terminate()
            try:
                service.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                service.kill()
                service.wait()
        self._services.clear()
        shutil.rmtree(self.folder, ignore_errors=True)


@contextmanager
def scratch() -> Iterator[Path]:
    """A folder on the disk that clusters use, too."""
    with tempfile.TemporaryDirectory(prefix="amp-") as folder:
        yield Path(folder)
