"""Values of 256 MiB between two folders, over sockets: what they cost in memory."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import AsyncIterator, Iterator
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import attrs
import psutil
import pytest
import pytest_twisted
from ampacity.protocol.blobs import BlobFolder
from ampacity.protocol.connection import Connection
from ampacity.protocol.errors import Disconnected, Malformed, NoSuchBlob
from ampacity.protocol.jobs import BlobRef
from ampacity.protocol.transfers import BlobResponder, download, upload
from twisted.internet import threads
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP4ServerEndpoint
from twisted.internet.protocol import Factory
from twisted.internet.task import LoopingCall

MIB = 1024 * 1024
SIZE = 256 * MIB
BOUND = 48 * MIB


class Serving(BlobResponder):
    def __init__(self, blobs: BlobFolder) -> None:
        self.blobs = blobs


@attrs.define
class Ends:
    """Two peers: ours asks, theirs answers from its folder."""

    ours: Connection
    theirs: Connection
    blobs: BlobFolder
    their_blobs: BlobFolder

    def cut(self) -> Deferred[None]:
        lost: Deferred[None] = Deferred()
        self.theirs.on_lost(lambda _: lost.callback(None))
        self.ours.abort()
        return lost


class _One(Factory):
    noisy = False

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def buildProtocol(self, addr: object) -> Connection:
        return self._connection


async def connect(reactor: Any, blobs: BlobFolder, their_blobs: BlobFolder) -> Ends:
    theirs, ours = Connection(), Connection()
    server = TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1")
    port = await server.listen(_One(theirs))
    await TCP4ClientEndpoint(reactor, "127.0.0.1", port.getHost().port).connect(_One(ours))
    await port.stopListening()
    ours.admit(Serving(blobs))
    theirs.admit(Serving(their_blobs))
    return Ends(ours, theirs, blobs, their_blobs)


@pytest.fixture
def reactor() -> Any:
    from twisted.internet import reactor

    return reactor


@pytest_twisted.async_yield_fixture
async def ends(reactor: Any, tmp_path: Path) -> AsyncIterator[Ends]:
    in_thread = partial(threads.deferToThreadPool, reactor, reactor.getThreadPool())
    folders = [BlobFolder(tmp_path / name, in_thread) for name in ("ours", "theirs")]
    for folder in folders:
        await folder.start()
    ends = await connect(reactor, *folders)
    yield ends
    await ends.cut()


@pytest.fixture
def value(tmp_path: Path) -> Iterator[tuple[BlobRef, Path]]:
    path, block, digest = tmp_path / "value", os.urandom(MIB), hashlib.sha256()
    with path.open("wb") as file:
        for n in range(SIZE // MIB):
            part = n.to_bytes(4, "big") + block[4:]
            digest.update(part)
            file.write(part)
    yield BlobRef(digest.digest(), SIZE), path
    path.unlink()


class Peak:
    """The growth of this process while it is open."""

    def __enter__(self) -> Peak:
        self.growth = 0
        self._before = psutil.Process().memory_info().rss
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def _watch(self) -> None:
        process = psutil.Process()
        while not self._over.wait(0.01):
            self.growth = max(self.growth, process.memory_info().rss - self._before)

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()


@pytest_twisted.ensureDeferred
async def test_a_large_value_up_and_down_again(ends: Ends, value: tuple[BlobRef, Path]) -> None:
    ref, path = value
    with Peak() as peak:
        await upload(ends.ours, ref, path)
        assert ends.their_blobs.has(ref.digest)
        await gatherResults([download(ends.ours, ref, ends.blobs) for _ in range(3)])
    assert ends.blobs.file(ref).stat().st_size == SIZE
    assert peak.growth < BOUND


@pytest_twisted.ensureDeferred
async def test_the_loop_is_free_while_a_large_value_passes(
    ends: Ends, value: tuple[BlobRef, Path], reactor: Any
) -> None:
    ticks: list[float] = []
    ticking = LoopingCall(lambda: ticks.append(reactor.seconds()))
    ticking.start(0.005)
    await upload(ends.ours, *value)
    ticking.stop()
    gaps = sorted(after - before for before, after in pairwise(ticks))
    assert gaps[len(gaps) * 9 // 10] < 0.05


@pytest_twisted.ensureDeferred
async def test_a_transfer_that_was_cut_is_taken_up_on_the_next_connection(
    ends: Ends, value: tuple[BlobRef, Path], reactor: Any
) -> None:
    ref, path = value
    sending = upload(ends.ours, ref, path)
    reactor.callLater(0.05, ends.ours.abort)
    with pytest.raises(Disconnected):
        await sending
    again = await connect(reactor, ends.blobs, ends.their_blobs)
    await upload(again.ours, ref, path)
    assert ends.their_blobs.has(ref.digest)
    await again.cut()


@pytest_twisted.ensureDeferred
async def test_a_file_with_other_bytes_is_not_stored(ends: Ends, tmp_path: Path) -> None:
    path = tmp_path / "other"
    path.write_bytes(bytes(MIB))
    with pytest.raises(Malformed):
        await upload(ends.ours, BlobRef(b"d" * 32, MIB), path)
    assert ends.ours.lost is None
    with pytest.raises(NoSuchBlob):
        await download(ends.ours, BlobRef(b"d" * 32, MIB), ends.blobs)
