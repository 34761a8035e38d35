"""A whole cluster, with all that can go wrong, at the log level where most is told: no secret is
anywhere but in the files made for it, and in the lines that are printed on purpose."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import attrs
import psutil
import pytest
from ampacity.protocol.addresses import parse_address
from ampacity.protocol.tokens import Token, parse_token

pytestmark = pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="looks into /proc")

LOUD = ["--log-level", "debug", "--log-format", "json"]

MODULE = r"""
import os, sys, traceback
from pathlib import Path

def of(pid):
    found = []
    for name in ("cmdline", "environ"):
        try:
            found.append(Path(f"/proc/{pid}/{name}").read_bytes().replace(b"\0", b"\n").decode())
        except OSError as e:
            found.append(str(e))
    return found

def ancestors():
    pid, found = "self", []
    while pid not in ("0", "1"):
        found.append(pid)
        try:
            text = Path(f"/proc/{pid}/status").read_text()
        except OSError:
            break
        pid = text.partition("PPid:")[2].split()[0]
        if b"pytest" in Path(f"/proc/{pid}/cmdline").read_bytes():
            break
    return found

def snoop(n):
    # the environment of whoever runs this job, and of those that started it
    everything = [dict(os.environ), *(of(pid) for pid in ancestors())]
    print(everything)
    print(everything, file=sys.stderr)
    return everything

def complain(n):
    raise RuntimeError(f"a failure that tells {dict(os.environ)}")

def die(n):
    os.kill(os.getpid(), 9)
"""


@attrs.define
class Cluster:
    """Processes, and files with all that they print."""

    command: list[str]
    folder: Path
    started: list[subprocess.Popen[bytes]] = attrs.field(factory=list)
    outputs: int = 0

    def out(self, name: str) -> Path:
        self.outputs += 1
        return self.folder / "out" / f"{self.outputs:02}-{threading.get_ident()}-{name}"

    def begin(self, name: str, *words: str, stdin: bytes = b"", **environ: str) -> Path:
        """Start a service; the file that it writes when it is ready."""
        ready = self.folder / f"{name}.ready"
        ready.unlink(missing_ok=True)
        env = {**os.environ, "AMPACITY_STATE": str(self.folder / f"{name}.state"), **environ}
        out = self.out(f"{name}.service")
        with out.with_suffix(".stdout").open("wb") as stdout, out.open("wb") as stderr:
            process = subprocess.Popen(
                [*self.command, *LOUD, *words, "--ready-file", str(ready)],
                stdin=subprocess.PIPE, stdout=stdout, stderr=stderr, env=env, cwd=self.folder,
            )  # fmt: skip
        self.started.append(process)
        assert process.stdin is not None
        process.stdin.write(stdin)
        process.stdin.close()
        return ready

    def start(self, name: str, *words: str) -> Any:
        """Start a service; what it says when it is ready."""
        ready = self.begin(name, *words)
        until(lambda: ready.exists() or self.started[-1].poll() is not None)
        return json.loads(ready.read_text())

    def run_all(self, *commands: tuple[Sequence[str], dict[str, str]]) -> list[Any]:
        """Run command lines, a few at a time."""
        with ThreadPoolExecutor(4) as pool:
            runs = [pool.submit(self.run, *words, **environ) for words, environ in commands]
            return [one.result() for one in runs]

    def run(self, *words: str, **environ: str) -> subprocess.CompletedProcess[bytes]:
        """Run a command; what it prints is kept for the search."""
        done = subprocess.run(
            [*self.command, *LOUD, *words], capture_output=True, timeout=90, check=False,
            stdin=subprocess.DEVNULL, env={**os.environ, **environ}, cwd=self.folder,
        )  # fmt: skip
        out = self.out("command")
        out.write_bytes(done.stdout + b"\n" + done.stderr)
        return done

    def processes(self) -> list[psutil.Process]:
        """The services that live, and all below them."""
        living = [psutil.Process(one.pid) for one in self.started if one.poll() is None]
        return [p for one in living for p in (one, *one.children(recursive=True))]

    def ended(self) -> list[int]:
        """The exit codes of services that have ended."""
        return [one.returncode for one in self.started if one.poll() is not None]

    def stop(self) -> None:
        for process in reversed(self.started):
            process.terminate()
        for process in self.started:
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def until(condition: Any, seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it does not come"
        time.sleep(0.02)


@pytest.fixture
def cluster(
    ampacity_command: list[str], access_folder: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Cluster]:  # fmt: skip
    (tmp_path / "out").mkdir()
    (tmp_path / "t").mkdir(mode=0o700)
    monkeypatch.setenv("TMPDIR", str(tmp_path / "t"))
    (tmp_path / "mine.py").write_text(MODULE)
    cluster = Cluster(ampacity_command, tmp_path)
    yield cluster
    cluster.stop()


@attrs.frozen
class Secret:
    """A secret in all the forms that it may be written in, and where it may lie."""

    name: str
    forms: tuple[bytes, ...]
    allowed: frozenset[Path]

    @classmethod
    def of(cls, name: str, token: Token, *allowed: Path) -> Secret:
        text = token.reveal()
        part = text.split(".")[4]
        forms = (part.encode(), token.secret, token.secret.hex().encode(), repr(token.secret)[2:-1])
        encoded = tuple(f.encode() if isinstance(f, str) else f for f in forms)
        return cls(name, (text.encode(), *encoded), frozenset(allowed))

    def within(self, data: bytes) -> bool:
        return any(form in data for form in self.forms)


def tokens_in(folder: Path) -> list[tuple[Path, Token]]:
    files = sorted(folder.glob("joined/*.token"))
    return [(file, parse_token(file.read_text().splitlines()[0])) for file in files]


def strange(token: Token, **changes: Any) -> Token:
    """A token that is none of this coordinator's."""
    return attrs.evolve(token, **{"secret": os.urandom(32), "id": "StrangeStra", **changes})


def test_secrets_stay_where_they_belong(cluster: Cluster, tmp_path: Path) -> None:
    secrets: list[Secret] = []

    def note(name: str, line: str, *allowed: Path) -> Token:
        token = parse_address(line).token
        assert token is not None
        secrets.append(Secret.of(name, token, *allowed))
        return token

    # -- a coordinator, and workers that came with their token in every possible way --
    def coordinator(listen: str) -> dict[str, Any]:
        facts: dict[str, Any] = cluster.start(
            "coordinator", "coordinator", "--listen", f"tcp:{listen}", "--slots", "1"
        )
        printed = max((tmp_path / "out").glob("*-coordinator.stdout"))
        ready = tmp_path / "coordinator.ready"
        for key in ("join", "client"):
            assert printed.read_text().count(facts[key].partition("#")[2]) == 1, "on purpose"
            note(f"the {key} token", facts[key], printed, ready, tmp_path / f"{key}.token")
        return facts

    facts = coordinator("127.0.0.1:0")
    line_file = tmp_path / "join.token"
    line_file.touch(0o600)
    line_file.write_text(facts["join"])
    address, _, token = facts["join"].partition("#")
    join, client = (note("", facts[key]) for key in ("join", "client"))
    del secrets[-2:]
    one = ("--slots", "1")
    workers = [
        cluster.begin("argv", "join", facts["join"], *one),
        cluster.begin("file", "join", "--token-file", str(line_file), *one),
        cluster.begin(
            "stdin", "join", "--token-file", "-", *one, stdin=f"{address}#{token}\n".encode()
        ),
        cluster.begin("environment", "join", address, *one, AMPACITY_TOKEN=token),
        cluster.begin("whole", "join", *one, AMPACITY_COORDINATOR=facts["join"]),
    ]
    until(lambda: all(ready.exists() for ready in workers) or cluster.ended())
    assert cluster.ended() == []

    # -- jobs that look around, fail, crash; of the user of the machine, and of a client --
    items = [":::", *map(str, range(12))]
    here: dict[str, str] = {}
    elsewhere = {"AMPACITY_COORDINATOR": facts["client"], "AMPACITY_ACCESS": str(tmp_path / "none")}
    shell = "tr '\\0' '\\n' < /proc/$PPID/environ; tr '\\0' '\\n' < /proc/$PPID/cmdline; env"
    codes = cluster.run_all(
        (["map", "mine:snoop", *items], here),
        (["map", "--cwd", str(tmp_path), "mine:snoop", *items], elsewhere),
        (["run", "mine:complain", "1"], here),
        (["run", "mine:complain", "1"], elsewhere),
        (["run", "--max-losses", "0", "mine:die", "1"], here),
        (["run", "--", "sh", "-c", shell], elsewhere),
    )
    assert [one.returncode for one in codes] == [0, 0, 1, 1, 1, 0]

    # -- what is shown --
    backup = tmp_path / "backup"
    shown = [
        ["config"], ["config", "--json"], ["doctor"], ["workers", "--json"], ["jobs", "--json"],
        ["job", "1"], ["job", "--json", "14"], ["logs", "1"], ["result", "1"], ["token", "list"],
        ["backup", str(backup)],
    ]  # fmt: skip
    separate = {"AMPACITY_COORDINATOR": address, "AMPACITY_TOKEN": token}
    looks = cluster.run_all(
        *((words, here) for words in shown),
        *((words, env) for words in (["config"], ["doctor"]) for env in (elsewhere, separate)),
    )
    assert backup.exists(), looks[len(shown) - 1]

    # -- what is refused --
    flipped = f"{token[:-1]}{'A' if token[-1] != 'A' else 'B'}"
    wrong = {
        "unknown": f"{address}#{strange(join).reveal()}",
        "another secret": f"{address}#{strange(join, id=join.id).reveal()}",
        "damaged": f"{address}#{flipped}",
        "cut": f"{address}#{token[:-14]}",
        "of another coordinator": f"{address}#{strange(join, key_hash=b'k' * 32).reveal()}",
        "without the mark": f"{address}{token}",
    }
    secrets += [
        Secret(name, (line[len(address) :].lstrip("#").encode(),), frozenset())
        for name, line in wrong.items()
        if name not in ("cut", "without the mark")  # parts of what is looked for as a whole
    ]
    strangers = [{"AMPACITY_STATE": str(tmp_path / f"state-{n}")} for n in range(8)]
    refused = cluster.run_all(
        *((["join", line], env) for line, env in zip(wrong.values(), strangers, strict=False)),
        (["jobs"], {**elsewhere, "AMPACITY_COORDINATOR": wrong["unknown"]}),
        (["jobs"], {**elsewhere, "AMPACITY_COORDINATOR": wrong["cut"]}),
        (["jobs"], {**elsewhere, "AMPACITY_COORDINATOR": wrong["without the mark"]}),
        (["join", f"{address}#{client.reveal()}"], strangers[6]),
        (["join", address, token, "amp1.worker.x"], strangers[7]),
        (["--coordinator", facts["client"], "jobs"], here),
    )
    assert {one.returncode for one in refused} <= {2, 4}

    # -- what is said when a coordinator goes, and another one comes --
    cluster.started[0].send_signal(signal.SIGKILL)
    cluster.started[0].wait()
    coordinator(address)
    until(lambda: cluster.run("workers", "--json").stdout.count(b'"local": false') == len(workers))
    assert cluster.run("map", "mine:snoop", *items).returncode == 0
    cluster.started[1].send_signal(signal.SIGABRT)  # would leave a core
    cluster.started[1].wait()

    for place in ("argv", "file", "stdin", "environment", "whole"):
        kept = tokens_in(tmp_path / f"{place}.state")
        assert len(kept) == 1
        for file, own in kept:
            secrets.append(Secret.of(f"the credential of {place}", own, file))
    key = tmp_path / "coordinator.state" / "key.pem"
    body = key.read_text().splitlines()[1]
    secrets.append(Secret("the key", (body.encode(),), frozenset([key])))

    assert found_in_processes(cluster, secrets) == []
    cluster.stop()
    assert found_in_files(tmp_path, secrets) == []
    private = {path for secret in secrets for path in secret.allowed if path.suffix != ".stdout"}
    assert all(path.stat().st_mode & 0o077 == 0 for path in private if path.exists())


def found_in_processes(cluster: Cluster, secrets: list[Secret]) -> list[str]:
    found = []
    living = cluster.processes()
    assert len(living) > 10, "services, guards and children"
    for process in living:
        for name in ("cmdline", "environ"):
            try:
                data = Path(f"/proc/{process.pid}/{name}").read_bytes()
            except OSError:
                continue  # it keeps that from us, or is gone
            found += [f"{s.name}: {name} of {process.cmdline()}" for s in secrets if s.within(data)]
    return found


def found_in_files(folder: Path, secrets: list[Secret]) -> list[str]:
    found, searched = [], 0
    for path in folder.rglob("*"):
        if path.is_file() and not path.is_symlink():
            data = path.read_bytes()
            searched += 1
            found += [
                f"{secret.name}: {path}"
                for secret in secrets
                if secret.within(data) and path not in secret.allowed
            ]
    assert searched > 60
    return found


def test_a_token_that_is_typed_is_not_shown(cluster: Cluster, tmp_path: Path) -> None:
    facts = cluster.start("coordinator", "coordinator", "--listen", "tcp:127.0.0.1:0")
    address, _, token = facts["join"].partition("#")
    leader, follower = pty.openpty()
    env = {**os.environ, "AMPACITY_STATE": str(tmp_path / "typed")}
    process = subprocess.Popen(
        [*cluster.command, "join", address, "--slots", "1"],
        stdin=follower, stdout=follower, stderr=follower, env=env, start_new_session=True,
        cwd=tmp_path,
    )  # fmt: skip
    cluster.started.append(process)
    os.close(follower)
    shown = b""
    while b"not shown" not in shown:
        shown += os.read(leader, 4096)
    os.write(leader, token.encode() + b"\n")
    while b"joined" not in shown:
        shown += os.read(leader, 4096)
    os.close(leader)
    assert token[-40:].encode() not in shown
    assert tokens_in(tmp_path / "typed")


def test_a_token_leaves_the_words_at_once(cluster: Cluster, tmp_path: Path) -> None:
    """Before anything is imported that takes its time."""
    program = (
        "import os, sys\n"
        "def execv(path, words):\n"
        "    print(sorted(m for m in sys.modules if m.partition('.')[0] in "
        "('click', 'twisted', 'attr', 'tomllib')), words[4:])\n"
        "    raise SystemExit\n"
        "os.execv = execv\n"
        "sys.argv = ['ampacity', '--log-level', 'debug', 'join', 'host:1#amp1.secret']\n"
        "from ampacity.cli.entry import main\n"
        "main()\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.startswith("[] ['--log-level', 'debug', 'join', '--token-fd'"), done
    assert "secret" not in done.stdout
