"""No coordinator, agent or command line unpickles or decompresses anything, on any day.

They run with a hook that writes down every call of an unpickler or a decompressor in them.
"""

from __future__ import annotations

import gzip
import os
import subprocess
import sys
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgpack
import pytest

from . import peers
from .ground import Ground, Process, environment, wait_until
from .handmade import digest_of, put, spec, submit

HOOK = Path(__file__).with_name("hook")
DAY = Path(__file__).with_name("day.py")

COMMANDS = [
    ["jobs", "--json"],
    ["job", "1"],
    ["job", "2", "--json"],
    ["result", "1"],
    ["result", "1", "2", "3", "--json"],
    ["result", "g1"],
    ["logs", "1"],
    ["wait", "1"],
    ["workers", "--json"],
    ["run", "math:factorial", "5"],
    ["map", "math:factorial", ":::", "5", "6"],
    ["retry", "1"],
    ["forget", "2"],
]


class Watched:
    """A cluster whose processes write down what they do."""

    def __init__(self, folder: Path) -> None:
        self.evidence = folder / "evidence"
        self.evidence.mkdir()
        path = [str(HOOK), *([other] if (other := os.environ.get("PYTHONPATH")) else [])]
        hook = {"PYTHONPATH": ":".join(path), "EVIDENCE": str(self.evidence)}
        self.ground = Ground(folder / "c", **hook)
        self.agents: set[int] = set()

    def watch(self, *processes: Process) -> None:
        """None of these may do it; and the hook is in force in them."""
        for process in processes:
            assert (self.evidence / f"{process.pid}.watched").exists(), process.name
            self.agents.add(process.pid)

    def found(self) -> str:
        """What the agents have done."""
        files = [self.evidence / str(pid) for pid in self.agents]
        return "".join(file.read_text() for file in files if file.exists())

    def children_have_done_it(self) -> bool:
        """Jobs do unpickle: the hook sees it."""
        found = [path for path in self.evidence.iterdir() if path.name.isdigit()]
        return any("bootstrap" in path.read_text() for path in found)


@pytest.fixture
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    watched = Watched(tmp_path_factory.mktemp("d"))
    yield watched
    watched.ground.stop()


def test_a_whole_day(watched: Watched) -> None:
    """Jobs of all kinds, a restart over the same store, a backup, and every command line."""
    ground = watched.ground
    ground.start(workers=1, ordinary=False)
    watched.watch(*ground.processes)
    crashed = live_a_day(ground, "1")
    first = ground.coordinator
    _command_lines(watched, [["job", crashed], ["backup", str(ground.folder / "backup")]])
    first.end()
    watched.watch(ground.start_coordinator())
    wait_until(lambda: b"connected" in ground.cli("workers").stdout)
    live_a_day(ground, "2")
    _command_lines(watched, COMMANDS)
    assert watched.found() == ""
    assert watched.children_have_done_it()


def live_a_day(ground: Ground, name: str) -> str:
    """What the program of the day prints."""
    folder = ground.folder / f"day-{name}"
    folder.mkdir()
    kept = {k: v for k, v in ground.more.items() if k != "EVIDENCE"}
    done = subprocess.run(
        [sys.executable, str(DAY), str(folder)],
        env=environment(folder, **kept, DAY_LINE=ground.facts["client"]),
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def _command_lines(watched: Watched, commands: list[list[str]]) -> None:
    """Every process of them is one that must not."""
    before = set(watched.evidence.iterdir())
    with ThreadPoolExecutor(2) as pool:
        for done in pool.map(lambda words: watched.ground.cli(*words), commands):
            assert done.returncode != 1 or done.stdout, done.stderr
    for path in set(watched.evidence.iterdir()) - before:
        text = path.read_text()
        assert path.suffix == ".watched" or "bootstrap" in text, (path.name, text)


def test_the_hook_sees_it(tmp_path: Path) -> None:
    """In a process that does unpickle and decompress, there is evidence of each."""
    text = (
        "import pickle, cloudpickle, zlib, marshal, shelve\n"
        "pickle.loads(pickle.dumps(1)); cloudpickle.loads(pickle.dumps(1))\n"
        "class Own(pickle.Unpickler): pass\n"
        "zlib.decompress(zlib.compress(b''))\nmarshal.loads(marshal.dumps(1))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", text],
        env={**environment(tmp_path), "PYTHONPATH": str(HOOK), "EVIDENCE": str(tmp_path)},
        check=False,
    )
    assert done.returncode == 0
    (found,) = [path.read_text() for path in tmp_path.iterdir() if path.name.isdigit()]
    for what in ("pickle.loads", "zlib.decompress", "marshal.loads"):
        assert f"{what} in" in found


# -- what could be decompressed: nothing ----------------------------------------------------------


def extensions_of(hello: bytes) -> set[int]:
    """The numbers of the extensions in a ClientHello."""
    at = 5 + 4 + 2 + 32
    at += 1 + hello[at]
    at += 2 + int.from_bytes(hello[at : at + 2], "big")
    at += 1 + hello[at]
    end = at + 2 + int.from_bytes(hello[at : at + 2], "big")
    at += 2
    found = set()
    while at < end:
        found.add(int.from_bytes(hello[at : at + 2], "big"))
        at += 4 + int.from_bytes(hello[at + 2 : at + 4], "big")
    return found


COMPRESS_CERTIFICATE = 27


def test_our_tls_takes_no_compressed_certificate() -> None:
    """A client that offers it would decompress what a stranger sends."""
    from ampacity.protocol.tls import ClientTLS
    from twisted.internet.protocol import Factory, Protocol
    from twisted.internet.testing import StringTransport
    from twisted.protocols.tls import TLSMemoryBIOFactory

    factory = TLSMemoryBIOFactory(ClientTLS(), True, Factory.forProtocol(Protocol))
    protocol = factory.buildProtocol(None)
    transport = StringTransport()
    protocol.makeConnection(transport)
    hello = transport.value()
    assert hello[:1] == b"\x16"
    assert COMPRESS_CERTIFICATE not in extensions_of(hello)


def test_bombs_are_bytes_like_others(ground: Ground) -> None:
    """A gigabyte of zeros in a megabyte, as gzip and as zlib: nothing here takes them apart."""
    zeros = zlib.compressobj(9)
    bomb = b"".join(zeros.compress(bytes(2**20)) for _ in range(256)) + zeros.flush()
    packed = gzip.compress(bytes(2**24))

    def attack() -> None:
        with peers.client(ground) as peer:
            ref = put(peer, bomb)
            assert ref[0] == digest_of(bomb)
            submit(peer, (spec(), ref), (spec(), packed), (spec(name="x"), bomb[:30_000]))
            peer.refusal("Submit", sequence=peer.sequence, jobs=packed)
            peer.refusal("Query", question="jobs", details=packed)
        with peers.worker(ground, slots=0) as liar:
            liar.refusal("Finished", reports=bomb[:200_000])
            liar.refusal("WorkerState", state=packed)
            liar.refusal("WorkerState", state=msgpack.packb(msgpack.ExtType(1, packed)))

    ground.endures(attack, 0.3, growth=16 * 2**20)
