"""The cluster that is attacked: real processes, a listening port, a client that goes on working.

A coordinator with a store on disk, two workers that joined it over TLS, and a program that submits
small jobs at a steady rate and knows how long each of them took. An attack runs meanwhile, and
must do no harm to any of that.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import select
import signal
import subprocess
import sys
import time
import unicodedata
from collections import deque
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import attrs
import psutil

PROGRAM = Path(__file__).with_name("ordinary.py")
AMPACITY = str(Path(sys.executable).with_name("ampacity"))
PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
START_SECONDS = 60.0
TRIES = 5
"""How often an attack is made before it is said to harm: this machine does other work, too."""

QUIET_SECONDS = 0.3
LONGEST_QUIET_SECONDS = 10.0
ANSWER_SECONDS = 30.0
GROWTH = 96 * 1024 * 1024
"""Bytes by which the coordinator's memory may grow in one attack, what it is sent included."""

_SETTLING = 0.2


_WITH_US = """\
import ctypes, os, sys
if sys.platform.startswith("linux"):
    ctypes.CDLL(None).prctl(1, 15, 0, 0, 0)
os.execv(sys.argv[1], sys.argv[1:])
"""
"""A test run that is killed leaves no cluster behind: SIGTERM, when this process ends."""


class Failed(AssertionError):
    """Something of the cluster did not hold."""


class Process:
    """One process of the cluster, with its log."""

    def __init__(self, words: list[str], folder: Path, environment: dict[str, str]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.name = folder.name
        self.log_file = folder / "log"
        with self.log_file.open("ab") as log:
            self.popen = subprocess.Popen(
                [sys.executable, "-I", "-S", "-c", _WITH_US, *words],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE if self.name == "ordinary" else log,
                stderr=log,
                cwd=folder,
                env=environment,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        return self.popen.pid

    def alive(self) -> bool:
        return self.popen.poll() is None

    def memory(self) -> int:
        """Resident bytes."""
        return int(psutil.Process(self.pid).memory_info().rss)

    def log(self, start: int = 0) -> str:
        """What it has logged from a place in the file on."""
        return self.log_file.read_bytes()[start:].decode("utf-8", "surrogateescape")

    def logged(self) -> int:
        return self.log_file.stat().st_size

    def end(self, seconds: float = 10.0) -> None:
        """Ask it to end; whatever is left of it then is killed."""
        family = []
        with contextlib.suppress(psutil.Error):
            family = psutil.Process(self.pid).children(recursive=True)
        if self.alive():
            self.popen.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.popen.wait(seconds)
        for process in family:
            with contextlib.suppress(psutil.Error):
                process.kill()
        self.popen.kill()
        self.popen.wait()
        for pipe in (self.popen.stdin, self.popen.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()


@attrs.frozen
class Latencies:
    """How the ordinary jobs of a while went, in seconds."""

    times: list[float]
    wrong: int
    lost: int
    """Jobs that have not ended long after."""

    def p99(self) -> float:
        return percentile(self.times)


def percentile(times: list[float]) -> float:
    """The 99th."""
    return sorted(times)[int(len(times) * 0.99 - 1e-9)] if times else 0.0


@attrs.frozen
class Endured:
    """What an attack did to the others."""

    name: str
    before: float
    during: float
    jobs: int
    growth: int
    tries: int
    logged: str
    """What the coordinator said meanwhile."""


def environment(folder: Path, **more: str) -> dict[str, str]:
    """Of a process of the cluster, with folders of its own.

    It has no mark of the test run: the workers replace their children whenever they like, and the
    cluster ends its processes by itself.
    """
    kept = {
        name: text
        for name, text in os.environ.items()
        if not name.startswith(("AMPACITY_", "XDG_", "TESTS_OF_"))
    }
    home = {f"XDG_{name}": str(folder / "xdg" / name.lower()) for name in _XDG}
    return {**kept, **home, "AMPACITY_ACCESS": str(folder / "access"), **more}


_XDG = ("RUNTIME_DIR", "STATE_HOME", "CONFIG_HOME", "CACHE_HOME", "DATA_HOME")


def wait_until(condition: Callable[[], Any], seconds: float = 20.0, what: str = "") -> Any:
    """Ask again and again; what it answers first that is true."""
    end = time.monotonic() + seconds
    while not (value := condition()):
        if time.monotonic() > end:
            raise Failed(f"it does not come true: {what or condition}")
        time.sleep(0.02)
    return value


class Ground:
    """The whole cluster, in one folder."""

    def __init__(self, folder: Path, **more: str) -> None:
        self.folder = folder
        self.more = more
        self.processes: list[Process] = []
        self.facts: dict[str, Any] = {}
        self.quiet: deque[float] = deque(maxlen=7)
        """The 99th percentiles of the last whiles in which nothing attacked."""
        self.record: list[Endured] = []
        self._sources = 0
        self._lasted = 0.0
        """Seconds of the last attack."""

    # -- its processes ----------------------------------------------------------------------------

    def start(self, workers: int = 2, ordinary: bool = True) -> None:
        self.start_coordinator()
        for number in range(1, workers + 1):
            self.start_worker(f"w{number}")
        if ordinary:
            self._start(
                [sys.executable, str(PROGRAM)], "ordinary", ORDINARY_LINE=self.facts["client"]
            )
            for _ in range(5):
                self.quiet.append(self.measure(QUIET_SECONDS).p99())

    def start_coordinator(self, *words: str) -> Process:
        """Start it, again after it has ended: over the same store, at the same port."""
        ready = self.folder / "coordinator" / "ready.json"
        ready.unlink(missing_ok=True)
        address = self.facts.get("address") or "127.0.0.1:0"
        (self.folder / "tokens").mkdir(mode=0o700, parents=True, exist_ok=True)
        process = self._start(
            [
                *(AMPACITY, "coordinator", "--listen", f"tcp:{address}"),
                *("--ready-file", str(ready), "--tokens", str(self.folder / "tokens"), *words),
            ],
            "coordinator",
        )
        wait_until(lambda: ready.exists() or not process.alive(), START_SECONDS, "a coordinator")
        if not process.alive():
            raise Failed(process.log())
        self.facts = json.loads(ready.read_text())
        return process

    def start_worker(self, name: str) -> Process:
        ready = self.folder / name / "ready.json"
        words = [AMPACITY, "join", "--slots", "1", "--name", name, "--ready-file", str(ready)]
        process = self._start([*words, self.facts["join"]], name)
        wait_until(lambda: ready.exists() or not process.alive(), START_SECONDS, f"worker {name}")
        if not process.alive():
            raise Failed(process.log())
        return process

    def _start(self, words: list[str], name: str, **more: str) -> Process:
        folder = self.folder / name
        process = Process(words, folder, environment(folder, **self.more, **more))
        self.processes = [one for one in self.processes if one.name != name]
        self.processes.append(process)
        return process

    def process(self, name: str) -> Process:
        return next(one for one in self.processes if one.name == name)

    @property
    def coordinator(self) -> Process:
        return self.process("coordinator")

    @property
    def workers(self) -> list[Process]:
        return [one for one in self.processes if one.name.startswith("w")]

    def stop(self) -> None:
        # the coordinator last: the others say goodbye to it
        for process in sorted(self.processes, key=lambda one: one.name == "coordinator"):
            process.end()

    # -- the ways in ------------------------------------------------------------------------------

    @property
    def port(self) -> int:
        return int(self.facts["address"].rpartition(":")[2])

    @property
    def socket(self) -> str:
        return str(self.facts["socket"])

    def source(self) -> str:
        """An address that nobody has come from: who fails at the door waits at the door."""
        if not sys.platform.startswith("linux"):
            return "127.0.0.1"
        self._sources += 1
        return f"127.0.{1 + self._sources // 250}.{1 + self._sources % 250}"

    def handed_out(self, role: str) -> str:
        """The token in a line that was left in a file: another one than the programs use."""
        return (self.folder / "tokens" / role / "token").read_text().strip().partition("#")[2]

    def cli(self, *words: str, text: str = "") -> subprocess.CompletedProcess[bytes]:
        """A command line of the coordinator's user, over the UNIX socket."""
        folder = self.folder / "coordinator"
        done = subprocess.run(
            [AMPACITY, *words],
            input=text.encode(),
            capture_output=True,
            timeout=30,
            cwd=folder,
            env=environment(folder, **self.more),
        )
        assert b"Traceback" not in done.stderr, done.stderr.decode("utf-8", "replace")
        return done

    def context(self) -> dict[str, Any]:
        """Where the ordinary jobs come from: others of the same client that say the same run in
        the same children."""
        text = (self.process("ordinary").folder / "context.json").read_text()
        return {"python": PYTHON, **json.loads(text)}

    # -- what must hold ---------------------------------------------------------------------------

    def measure(self, seconds: float = 0.0) -> Latencies:
        """The ordinary jobs that were submitted since the last time, when they have ended."""
        time.sleep(seconds)
        ordinary = self.process("ordinary").popen
        assert ordinary.stdin is not None
        assert ordinary.stdout is not None
        ordinary.stdin.write(b"measure\n")
        ordinary.stdin.flush()
        heard, _, _ = select.select([ordinary.stdout], [], [], ANSWER_SECONDS)
        line = ordinary.stdout.readline() if heard else b""
        if not line:
            raise Failed(f"the ordinary client says nothing: {self.process('ordinary').log()}")
        return Latencies(**json.loads(line))

    def endures(
        self,
        attack: Callable[[], object],
        seconds: float = 0.8,
        growth: int = GROWTH,
        names: str | None = None,
        name: str = "",
    ) -> Endured:
        """Attack again and again for ``seconds``, once at least; nobody else is harmed by it.

        ``names``: a pattern of what the coordinator's log says then.
        """
        name = name or os.environ.get("PYTEST_CURRENT_TEST", "").rpartition("::")[2].split(" ")[0]
        for tried in range(1, TRIES + 1):
            endured = self._once(attack, seconds, name, tried)
            self._not_harmed(endured, growth)
            if endured.during <= 2 * endured.before + 0.05:
                break
        self.record.append(endured)
        bound = 2 * endured.before + 0.05
        assert endured.during <= bound, f"ordinary jobs were held up: {endured}"
        if names is not None:
            assert re.search(names, endured.logged), endured.logged
        return endured

    def _once(self, attack: Callable[[], object], seconds: float, name: str, tried: int) -> Endured:
        before = self._before(0.0 if tried == 1 else self._lasted)
        memory, logged = self.coordinator.memory(), self.coordinator.logged()
        began = time.monotonic()
        attack()
        while time.monotonic() < began + seconds:
            attack()
        during = self.measure(_SETTLING)
        self._lasted = time.monotonic() - began
        if during.wrong or during.lost:
            raise Failed(f"{during.wrong} ordinary jobs went wrong, {during.lost} were lost")
        if not self.coordinator.alive():
            raise Failed(f"the coordinator has ended: {self.coordinator.log(logged)}")
        return Endured(
            name=name,
            before=before,
            during=during.p99(),
            jobs=len(during.times),
            growth=self.coordinator.memory() - memory,
            tries=tried,
            logged=self.coordinator.log(logged),
        )

    def _before(self, seconds: float) -> float:
        """The 99th percentile while nothing attacks.

        Every commit waits for the disk, which now and then takes a tenth of a second: a long while
        has more of these in it than a short one, and is compared with one that is as long.
        """
        self.measure()
        self.quiet.append(self.measure(QUIET_SECONDS).p99())
        usual = median(self.quiet)
        if not seconds:
            return usual
        return max(usual, self.measure(min(seconds, LONGEST_QUIET_SECONDS)).p99())

    def _not_harmed(self, endured: Endured, growth: int) -> None:
        dead = [one.name for one in self.processes if not one.alive()]
        if dead:
            raise Failed(f"ended: {dead}")
        if endured.growth > growth:
            raise Failed(f"the coordinator has grown by {endured.growth} bytes: {endured.name}")
        decent(endured.logged)


def decent(log: str) -> None:
    """A log is lines of printable text, and no stranger brings a traceback into it."""
    for line in log.splitlines():
        if "Traceback" in line or "Unhandled" in line:
            raise Failed(f"a traceback in the log:\n{log[:6000]}")
        if len(line) > 2000:
            raise Failed(f"a line of {len(line)} characters in the log: {line[:500]}")
    if bad := unfit(log):
        raise Failed(f"{bad!r} in the log:\n{log[:6000]!r}")


def unfit(text: str) -> set[str]:
    """The characters of a text that would do something to a terminal, but for the ends of lines.

    Control characters, marks of direction and other formats, separators of lines, and what is no
    text at all.
    """
    doubtful = {char for char in text if not char.isprintable() and char not in "\n "}
    return {c for c in doubtful if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp")}
