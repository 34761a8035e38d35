"""Everything that a peer may choose, full of what acts on terminals, in every output that we make.

What people read has it escaped; JSON gives it back as it was, and is harmless as it stands, too;
a record of a log is one line.
"""

from __future__ import annotations

import contextlib
import json
import os
import pty
import select
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any

import msgpack
import pytest

from . import peers
from .ground import AMPACITY, Ground, environment, unfit
from .handmade import assigned, finish, report, spec, submit

ACTS = (
    "\x1b[2J\x1b]0;owned\x07\x9b31m\x7f\x85\b\r\n"
    "\u202egnp\u2066\u200f\u061c\u2028\u2029\ufeff\U000e0041"
)
MEANS = (
    "[bold red]x[/] [link=file:///etc/passwd]y[/] <script>alert(1)</script> '; DROP TABLE jobs;--"
)
RECORD = "\n2026-01-01T00:00:00.000Z info  ampacity: all is well\nampacity: all is well"
HOSTILE = f"{MEANS} ../../x %s{{0}}\0{ACTS}{RECORD} ä漢"
SHORT = f"\0{ACTS}[red]{RECORD}"
TRACE = f"Trace\n  File {HOSTILE}\n{ACTS}"
LINES = "\n\t"
"""What may stand in a text of several lines."""

assert len(SHORT) < 200 < len(HOSTILE)


class Cluster:
    """A coordinator that has been told all of it."""

    def __init__(self, ground: Ground) -> None:
        self.ground = ground
        self.user = peers.local(ground)
        self.worker = peers.worker(ground, name=SHORT, software=SHORT, host=SHORT)
        load = {"cpu": SHORT, "memory": SHORT, "lag": SHORT, SHORT: SHORT}
        self.worker.ask("WorkerState", state=load)
        self.user.ask("CreateToken", role="viewer", name=SHORT)
        self.failed = self.ended(2, error=[SHORT, HOSTILE, TRACE], tail=HOSTILE.encode())
        evidence = [SHORT, SHORT, 7, SHORT, 9, 1 << 20, HOSTILE]
        self.crashed = self.ended(5, evidence=evidence)
        self.text = self.ended(1, shown=[True, "str", json.dumps(HOSTILE, ensure_ascii=False)])
        self.listed = self.ended(1, shown=[True, "list", json.dumps([HOSTILE], ensure_ascii=False)])
        self.other = self.ended(1, shown=[False, SHORT, HOSTILE])
        self.lie = self.ended(1, shown=[True, SHORT, HOSTILE])
        self.command = self.ended(
            2, msgpack.packb([HOSTILE, "-c"]), kind="command", error=[SHORT, HOSTILE, HOSTILE]
        )
        self.running = self.begun()
        self.worker.ask("Begun", attempts=[[*self.running, 1.7e9]])
        self.jobs = [
            *(self.failed, self.crashed, self.text, self.listed, self.other, self.lie),
            *(self.command, self.running[0]),
        ]
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._stay)
        self._thread.start()

    def _stay(self) -> None:
        """Answer the pings."""
        while not self._over.is_set():
            self.worker.is_dropped(0.2)
            self.user.is_dropped(0.2)

    def close(self) -> None:
        self._over.set()
        self._thread.join()
        self.user.close()
        self.worker.close()

    def begun(self, payload: bytes = b"", **more: Any) -> Sequence[Any]:
        given = {"name": SHORT, "target": HOSTILE, "folder": HOSTILE, "orphans": "keep", **more}
        own = spec(**given, env=[[SHORT, HOSTILE]], retry_on=[HOSTILE], retries=1, arguments="json")
        (job,) = submit(self.user, (own, payload), keys=[f"{self.user.sequence}{SHORT}"[:200]])
        return assigned(self.worker, job)

    def ended(
        self,
        ending: int,
        payload: bytes = b"",
        *,
        shown: Any = None,
        error: Any = None,
        evidence: Any = None,
        tail: bytes = b"",
        **more: Any,
    ) -> int:
        held = self.begun(payload or msgpack.packb([[HOSTILE], {SHORT: HOSTILE}]), **more)
        body = msgpack.packb([b"", shown, error, None, evidence, tail])
        log = msgpack.packb([[HOSTILE.encode(), 0, b""], [b"", 0, b""]])
        finish(self.worker, report(*held, ending, body=body, log=log, again=False))
        self.user.acknowledge(self.user.next("Delivered"))
        return int(held[0])

    def shown(self, *words: object, codes: tuple[int, ...] = (0,)) -> str:
        """Both outputs of a command line, which people read."""
        done = self.ground.cli(*map(str, words))
        assert done.returncode in codes, (words, done)
        text = done.stdout.decode() + done.stderr.decode()
        assert_harmless(text)
        return text

    def records(self, *words: object, codes: tuple[int, ...] = (0,)) -> list[Any]:
        """A JSON value a line."""
        done = self.ground.cli(*map(str, words), "--json")
        assert done.returncode in codes, (words, done)
        assert_harmless(done.stdout.decode() + done.stderr.decode())
        return [json.loads(line) for line in done.stdout.decode().split("\n")[:-1]]


def assert_harmless(text: str) -> None:
    assert not unfit(text.replace("\t", "")), text
    for line in text.split("\n"):
        assert not line.startswith(("2026-01-01", "ampacity: all is well")), text


def texts(value: Any) -> Iterator[str]:
    """Every text in it, keys included."""
    if isinstance(value, dict):
        for key, part in value.items():
            yield from (key, *texts(part))
    elif isinstance(value, list):
        for part in value:
            yield from texts(part)
    elif isinstance(value, str):
        yield value


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    ground = Ground(tmp_path_factory.mktemp("o"))
    try:
        ground.start(workers=0, ordinary=False)
        cluster = Cluster(ground)
        yield cluster
        cluster.close()
    finally:
        ground.stop()


def test_lists_of_jobs(cluster: Cluster) -> None:
    shown = cluster.shown("jobs", "--all")
    assert len(shown.splitlines()) == len(cluster.jobs) + 1
    records = cluster.records("jobs", "--all")
    assert {record["id"] for record in records} == set(cluster.jobs)
    assert all(record["name"] == SHORT for record in records)
    assert all(record["target"] == HOSTILE for record in records)
    assert all(record["worker"].startswith(SHORT) for record in records)
    assert all(record["key"].endswith(SHORT) for record in records)


def test_all_about_a_job(cluster: Cluster) -> None:
    shown = cluster.shown("job", *cluster.jobs)
    for part in ("<script>", "\\x1b[2J", "\\u202e", "[bold red]x[/]", "DROP TABLE"):
        assert part in shown
    records = {record["id"]: record for record in cluster.records("job", *cluster.jobs)}
    failed = records[cluster.failed]
    assert failed["error"] == {"type": SHORT, "message": HOSTILE, "traceback": TRACE}
    assert (failed["folder"], failed["retry_on"]) == (HOSTILE, [HOSTILE])
    assert failed["env"] == [SHORT]
    assert failed["output"] == HOSTILE
    evidence = records[cluster.crashed]["evidence"]
    assert (evidence["reason"], evidence["signal"], evidence["host"]) == (HOSTILE, SHORT, SHORT)
    assert records[cluster.text]["value"] == HOSTILE
    assert records[cluster.listed]["value"] == [HOSTILE]
    assert (records[cluster.other]["repr"], records[cluster.other]["type"]) == (HOSTILE, SHORT)
    assert records[cluster.lie]["repr"] == HOSTILE


@pytest.mark.parametrize("command", ["result", "wait"])
def test_what_became_of_them(cluster: Cluster, command: str) -> None:
    ended = [job for job in cluster.jobs if job != cluster.running[0]]
    for job in ended:
        if command == "result" and job in (cluster.text, cluster.other, cluster.lie):
            continue  # values, see below
        cluster.shown(command, job, codes=(0, 1))
        (record,) = cluster.records(command, job, codes=(0, 1))
        assert HOSTILE in texts(record) or command == "wait"
    cluster.records(command, f"{min(ended)}-{max(ended)}", codes=(0, 1))


def test_a_text_is_data_unless_a_terminal_reads_it(cluster: Cluster) -> None:
    done = cluster.ground.cli("result", str(cluster.text))
    assert done.stdout.decode() == f"{HOSTILE}\n"
    assert not unfit(on_terminal(cluster.ground, "result", str(cluster.text)))


def test_what_is_no_data_may_have_lines_and_nothing_else(cluster: Cluster) -> None:
    for job in (cluster.other, cluster.lie):
        assert not unfit(cluster.ground.cli("result", str(job)).stdout.decode())


def test_on_a_terminal(cluster: Cluster) -> None:
    """Colours and the like are there, and ours; what others have named is not among it."""
    for words in (["jobs"], ["workers"], ["job", str(cluster.failed)], ["token", "list"]):
        assert_harmless(on_terminal(cluster.ground, *words))
    shown = on_terminal(cluster.ground, "top", "--once")
    for act in ("\x1b[2J", "\x07", "\x9b", "\u202e", "\u2028", "\b"):
        assert act not in shown
    assert "[red]" in shown


def on_terminal(ground: Ground, *words: str) -> str:
    """What a command prints on one, its own line ends put back."""
    here, there = pty.openpty()
    folder = ground.folder / "coordinator"
    process = subprocess.Popen(
        [AMPACITY, *words],
        stdin=there,
        stdout=there,
        stderr=there,
        cwd=folder,
        env={**environment(folder), "TERM": "xterm", "COLUMNS": "300"},
    )
    os.close(there)
    heard, end = b"", time.monotonic() + 30
    while time.monotonic() < end:
        if select.select([here], [], [], 0.2)[0]:
            try:
                data = os.read(here, 65536)
            except OSError:  # everybody has closed it
                break
            heard += data
    os.close(here)
    process.kill()
    assert process.wait() == 0, heard
    return heard.decode().replace("\r\n", "\n")


def test_workers(cluster: Cluster) -> None:
    shown = cluster.shown("workers")
    assert len(shown.splitlines()) == 2
    (record,) = cluster.records("workers")
    assert record["name"].startswith(SHORT)
    assert (record["software"], record["host"]) == (SHORT, SHORT)
    assert record["load"] == {"cpu": SHORT, "memory": SHORT, "lag": SHORT, SHORT: SHORT}


def test_top(cluster: Cluster) -> None:
    cluster.shown("top", "--once")
    (record,) = cluster.records("top", "--once")
    assert SHORT in texts(record)


def test_tokens(cluster: Cluster) -> None:
    cluster.shown("token", "list")
    named = [record for record in cluster.records("token", "list") if record["name"] == SHORT]
    assert len(named) == 2  # the viewer's, and that of the worker which joined
    cluster.shown("token", "revoke", SHORT.replace("\0", ""), codes=(5,))


def test_what_cannot_be_done(cluster: Cluster) -> None:
    """Refusals repeat what was asked for."""
    odd = SHORT.replace("\0", "")
    for words in (
        ["workers", "drain", odd],
        ["jobs", "--group", odd],
        ["job", odd],
        [odd],
        ["--coordinator", odd, "jobs"],
        ["--coordinator", f"unix:/{odd}", "jobs"],
        ["--token-file", odd, "--coordinator", "localhost:1", "jobs"],
        ["run", odd],
        ["run", "--timeout", odd, "math:factorial"],
        ["submit", "--env", odd, "math:factorial"],
        ["top", f"--{odd}"],
        ["backup", f"/proc/{odd}"],
        ["service", "install", "--user", "--dry-run", "worker", "--name", odd],
        ["service", "install", "--user", "--dry-run", "worker", "--coordinator", odd],
    ):
        cluster.shown(*words, codes=(1, 2, 3, 4, 5))


def test_what_is_checked(cluster: Cluster) -> None:
    cluster.shown("doctor", codes=(0, 1))
    assert SHORT in "".join(texts(cluster.records("doctor", codes=(0, 1))))
    cluster.shown("config")
    cluster.records("config")


def test_output_is_that_of_the_job(cluster: Cluster) -> None:
    """Byte by byte, as documented; as JSON it is harmless."""
    done = cluster.ground.cli("logs", str(cluster.failed))
    assert done.stdout == HOSTILE.encode()
    (record,) = cluster.records("logs", cluster.failed)
    assert record["text"] == HOSTILE


def test_cancelled_retried_forgotten(cluster: Cluster) -> None:
    """The last of all: nothing is left after it."""
    cluster.shown("retry", cluster.failed)
    cluster.records("retry", cluster.crashed)
    cluster.shown("cancel", "all", "--queued")
    cluster.records("cancel", cluster.text)
    cluster.shown("forget", cluster.text)
    cluster.records("forget", cluster.listed)


@pytest.mark.parametrize("form", ["text", "json"])
def test_the_log(tmp_path_factory: pytest.TempPathFactory, form: str) -> None:
    """A line a record, whoever has said what."""
    ground = Ground(tmp_path_factory.mktemp("l"), AMPACITY_LOG_FORMAT=form)
    try:
        ground.start(workers=0, ordinary=False)
        cluster = Cluster(ground)
        try:
            provoke(ground)
            time.sleep(1.5)  # counts are told once a second
        finally:
            cluster.close()
    finally:
        ground.stop()
    log = ground.coordinator.log()
    assert not unfit(log), log
    lines = log.rstrip("\n").split("\n")
    assert any("refused the token" in line for line in lines), log
    for line in lines:
        if form == "json" and line.startswith("{"):
            assert {"time", "level", "logger", "message"} <= json.loads(line).keys()
        assert not line.startswith("2026-01-01"), log
    assert "\\x1b[2J" in log or "\\\\x1b[2J" in log


def provoke(ground: Ground) -> None:
    """What strangers and peers say wrong, to be told in the log."""
    stranger = peers.Peer(peers.tls(ground))
    stranger.ask("Hello", versions=[1, 2], role="client", software=SHORT)
    stranger.refusal("Authenticate", token=SHORT, secret=b"x")
    stranger.close()
    for name in (SHORT.encode(), b"\xff\x1b[2J\n", SHORT[:60].encode()):
        stranger = peers.Peer(peers.tls(ground))
        box = {b"_command": name, **({} if b"\xff" in name else {b"_ask": b"1"})}
        stranger.write(peers.serialize(box))
        with contextlib.suppress(peers.Gone):
            stranger.write(peers.serialize({b"_answer": SHORT.encode()}))
        stranger.is_dropped()
        stranger.close()
    odd = peers.Peer(peers.tls(ground))
    odd.refusal("Hello", versions=[1], role=SHORT, software=SHORT)
    odd.close()
    with peers.local(ground) as user:
        user.refusal("Query", question=SHORT, details={SHORT: SHORT})
        user.refusal("DrainWorker", worker=f"x{SHORT}")
        user.refusal("RevokeToken", token=SHORT, joined=False)
        user.refusal("Backup", folder=f"/proc/{SHORT}")
