"""Every socket that any process of ours listens on, in each way to run it: what was asked for, and
no other. TCP, UDP and UNIX sockets, those without a file included; of children and guards, too."""

from __future__ import annotations

import ipaddress
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

pytestmark = pytest.mark.skipif(
    not Path("/proc/net/unix").exists() or not Path("/proc/self/fd").exists(),
    reason="reads the kernel's tables of sockets in /proc",
)

LISTENING = 0x0A
ACCEPTS = 1 << 16  # __SO_ACCEPTCON
DATAGRAM = 2

POOL = """
import sys
from ampacity import Pool
from twisted.internet import threads
from twisted.internet.task import react

async def main(reactor):
    async with Pool(slots=2) as pool:
        print("ready", await pool.submit(pow, 2, 3), flush=True)
        await threads.deferToThread(sys.stdin.read)

react(main)
"""

SERVICE = """
import sys
from twisted.internet import reactor
from ampacity.cli import %s as tap

options = tap.Options()
options.parseOptions(sys.argv[1:])
service = tap.makeService(options)
reactor.callWhenRunning(service.startService)
reactor.addSystemEventTrigger("before", "shutdown", service.stopService)
reactor.run()
"""

BLOCKING = """
import sys
from ampacity.blocking import Pool

with Pool(slots=2) as pool:
    print("ready", pool.submit(pow, 2, 3).result(), flush=True)
    sys.stdin.read()
"""

WAITS = """
import os, time

def wait(path):
    open(path, "w").close()
    while os.path.exists(path):
        time.sleep(0.05)
"""


def listeners(root: int) -> list[str]:
    """Where a process and all below it listen."""
    processes = [psutil.Process(root), *psutil.Process(root).children(recursive=True)]
    inodes = {inode for process in processes for inode in sockets_of(process.pid)}
    return sorted(where for inode, where in [*internet(), *unix()] if inode in inodes)


def sockets_of(pid: int) -> Iterator[int]:
    try:
        links = [str(fd.readlink()) for fd in Path(f"/proc/{pid}/fd").iterdir()]
    except OSError:  # it ends just now
        return
    yield from (int(link[8:-1]) for link in links if link.startswith("socket:["))


def internet() -> Iterator[tuple[int, str]]:
    for kind in ("tcp", "tcp6", "udp", "udp6", "raw", "raw6"):
        table = Path(f"/proc/net/{kind}")
        for line in table.read_text().splitlines()[1:] if table.exists() else ():
            _number, local, _far, state, *_rest = fields = line.split()
            if not kind.startswith("tcp") or int(state, 16) == LISTENING:
                yield int(fields[9]), f"{kind}:{address(local)}"


def address(text: str) -> str:
    host, port = text.split(":")
    words = [bytes.fromhex(host[n : n + 8])[::-1] for n in range(0, len(host), 8)]
    return f"{ipaddress.ip_address(b''.join(words))}:{int(port, 16)}"


def unix() -> Iterator[tuple[int, str]]:
    for line in Path("/proc/net/unix").read_text().splitlines()[1:]:
        _number, _count, _protocol, flags, kind, _state, inode, *name = line.split()
        if int(flags, 16) & ACCEPTS or (int(kind) == DATAGRAM and name):
            yield int(inode), f"unix:{name[0] if name else '(no name)'}"


Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start(access_folder: Path, tmp_path: Path) -> Iterator[Start]:
    """Start a program with a state folder of its own; it is ended after the test."""
    started: list[subprocess.Popen[str]] = []

    def begin(*words: str, name: str = "one", **environ: str) -> subprocess.Popen[str]:
        env = {**os.environ, "AMPACITY_STATE": str(tmp_path / name), **environ}
        process = subprocess.Popen(
            words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env, cwd=tmp_path
        )
        started.append(process)
        return process

    yield begin
    for process in reversed(started):
        process.send_signal(signal.SIGTERM)
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.close()
    for process in started:
        process.wait(60)
        assert process.stdout is not None
        process.stdout.close()


def ready(process: subprocess.Popen[str], word: str = "ready") -> str:
    assert process.stdout is not None
    for line in process.stdout:
        if word in line:
            return line
    raise AssertionError(f"it ended with {process.wait()}")


def service(start: Start, tmp_path: Path, *words: str, **more: Any) -> tuple[Any, int]:
    """Start a service; what it says when it is ready, and its process id."""
    file = tmp_path / f"ready-{len(list(tmp_path.iterdir()))}"
    process = start(*words, "--ready-file", str(file), **more)
    until(lambda: file.exists() or process.poll() is not None)
    return json.loads(file.read_text()), process.pid


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end, "it does not come"
        time.sleep(0.02)


@pytest.mark.parametrize("program", [POOL, BLOCKING], ids=["Pool", "blocking Pool"])
def test_a_pool_listens_nowhere(start: Start, program: str) -> None:
    process = start(sys.executable, "-c", program)
    assert ready(process) == "ready 8\n"
    assert len(psutil.Process(process.pid).children(recursive=True)) >= 2
    assert listeners(process.pid) == []


@pytest.mark.parametrize("words", [["run", "w:wait", "flag"], ["map", "w:wait", ":::", "flag"]])
def test_run_and_map_alone_listen_nowhere(
    start: Start, ampacity_command: list[str], tmp_path: Path, words: list[str]
) -> None:
    (tmp_path / "w.py").write_text(WAITS)
    flag = tmp_path / "flag"
    process = start(*ampacity_command, *words)
    until(flag.exists)
    try:
        assert listeners(process.pid) == []
    finally:
        flag.unlink()
    assert process.wait(60) == 0


def test_up_listens_on_its_socket_alone(
    start: Start, ampacity_command: list[str], access_folder: Path, tmp_path: Path
) -> None:
    facts, pid = service(start, tmp_path, *ampacity_command, "up", "--slots", "2")
    assert facts["join"] is None
    assert listeners(pid) == [f"unix:{access_folder}/coordinator.socket"]
    run(ampacity_command, "run", "math:factorial", "5")
    assert listeners(pid) == [f"unix:{access_folder}/coordinator.socket"]


def run(command: list[str], *words: str) -> None:
    subprocess.run([*command, *words], check=True, stdout=subprocess.DEVNULL, timeout=90)


@pytest.mark.parametrize(
    "words", [["up", "--slots", "1"], ["coordinator"]], ids=["up", "coordinator"]
)
def test_with_listen_also_on_that_port_of_that_interface(
    start: Start, ampacity_command: list[str], access_folder: Path, tmp_path: Path,
    words: list[str],
) -> None:  # fmt: skip
    """And a worker that joins it listens nowhere; neither does a client."""
    listen = ["--listen", "tcp:127.0.0.1:0", "--advertise", "127.0.0.1"]
    facts, pid = service(start, tmp_path, *ampacity_command, *words, *listen)
    port = facts["address"].rpartition(":")[2]
    own = [f"tcp:127.0.0.1:{port}", f"unix:{access_folder}/coordinator.socket"]
    assert listeners(pid) == own
    join = [*ampacity_command, "join", facts["join"], "--slots", "1"]
    _, worker = service(start, tmp_path, *join, name="worker")
    (tmp_path / "w.py").write_text(WAITS)
    flag = tmp_path / "flag"
    client = start(*ampacity_command, "run", "w:wait", str(flag))
    until(flag.exists)
    assert listeners(worker) == []
    assert listeners(client.pid) == []
    assert listeners(pid) == own
    flag.unlink()
    assert client.wait(60) == 0


def test_an_interface_that_was_named_is_the_only_one(
    start: Start, ampacity_command: list[str], access_folder: Path, tmp_path: Path
) -> None:
    listen = ["--listen", "tcp:127.0.0.2:0", "--listen", "tcp:127.0.0.1:0"]
    _facts, pid = service(start, tmp_path, *ampacity_command, "coordinator", *listen)
    places = [where.rpartition(":")[0] for where in listeners(pid)]
    assert places == ["tcp:127.0.0.1", "tcp:127.0.0.2", "unix"]


def test_the_services_of_twist(start: Start, access_folder: Path, tmp_path: Path) -> None:
    tokens = tmp_path / "tokens"
    tokens.mkdir()
    listen = ("--listen", "tcp:127.0.0.1:0", "--advertise", "127.0.0.1", "--tokens", str(tokens))
    coordinator = start(sys.executable, "-c", SERVICE % "coordinator_tap", *listen)
    line = tokens / "worker" / "token"
    until(line.exists)
    port = line.read_text().partition("#")[0].rpartition(":")[2]
    own = [f"tcp:127.0.0.1:{port}", f"unix:{access_folder}/coordinator.socket"]
    assert listeners(coordinator.pid) == own
    program = SERVICE % "worker_tap"
    worker = start(sys.executable, "-c", program, "--token-file", str(line), name="worker")
    until(lambda: bool(list((tmp_path / "worker").glob("joined/*.token"))))
    assert listeners(worker.pid) == []


def test_a_listener_is_noticed(start: Start) -> None:
    """The tables tell; an abstract UNIX socket and UDP, too."""
    program = (
        "import socket, sys\n"
        "s = [socket.socket(), socket.socket(socket.AF_UNIX),"
        " socket.socket(type=socket.SOCK_DGRAM)]\n"
        "s[0].bind(('127.0.0.1', 0)); s[0].listen()\n"
        "s[1].bind('\\0of-a-test'); s[1].listen()\n"
        "s[2].bind(('127.0.0.1', 0))\n"
        "print('ready', flush=True); sys.stdin.read()\n"
    )
    process = start(sys.executable, "-c", program)
    ready(process)
    kinds = [where.partition(":")[0] for where in listeners(process.pid)]
    assert kinds == ["tcp", "udp", "unix"]
