"""Bits that flip in the files of values: found out before anybody uses them, and told by name."""

from __future__ import annotations

import hashlib
import os
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from ampacity import JobFailed, Pool
from ampacity.client.local import LocalCluster
from ampacity.coordinator.credentials import Credentials
from ampacity.coordinator.service import CoordinatorService
from ampacity.protocol.access import AccessFolder, StateFolder
from ampacity.protocol.blobs import BlobFolder
from ampacity.protocol.connection import Connection
from ampacity.protocol.errors import Damaged
from ampacity.protocol.jobs import BlobRef
from ampacity.protocol.transfers import BlobResponder, download
from twisted.internet import reactor as _reactor
from twisted.internet import threads
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP4ServerEndpoint
from twisted.internet.protocol import Factory
from twisted.internet.task import deferLater

reactor: Any = _reactor

DATA = bytes(range(256)) * 1024
REF = BlobRef(hashlib.sha256(DATA).digest(), len(DATA))


def flip(path: Path, secretly: bool = False) -> None:
    """Change one bit of a file; secretly, its times say nothing of it."""
    about, data = path.stat(), bytearray(path.read_bytes())
    data[len(data) // 3] ^= 1
    path.write_bytes(data)
    if secretly:
        os.utime(path, ns=(about.st_atime_ns, about.st_mtime_ns))


async def until(condition: Callable[[], Any]) -> Any:
    while not (found := condition()):
        await deferLater(reactor, 0.01)
    return found


def large(blobs: BlobFolder) -> Path | None:
    """The file of the one value that is no function."""
    files = [blobs.folder / digest.hex() for digest in blobs.digests()]
    return next((path for path in files if path.stat().st_size > 90_000), None)


# -- jobs -----------------------------------------------------------------------------------------


@pytest_twisted.async_yield_fixture
async def cluster(tmp_path: Path) -> AsyncIterator[LocalCluster]:
    """With one slot; it listens on the socket of the access folder."""
    cluster = LocalCluster(reactor, slots=1)
    await cluster.start()
    access, credentials = AccessFolder(tmp_path / "a"), Credentials(StateFolder(tmp_path / "s"))
    service = CoordinatorService(reactor, cluster.driver, access, credentials, ())
    service.startService()
    await service.ready
    yield cluster
    await service.stopService()
    await cluster.stop()


@pytest_twisted.async_yield_fixture
async def pool(cluster: LocalCluster, tmp_path: Path) -> AsyncIterator[Pool]:
    pool = Pool.connect(f"unix:{AccessFolder(tmp_path / 'a').socket}", reactor=reactor)
    yield pool
    await pool.close()


def wait_for(path: str) -> None:
    import time
    from pathlib import Path

    while not Path(path).exists():
        time.sleep(0.01)


def note_size(path: str, data: bytes) -> int:
    from pathlib import Path

    Path(path).write_text("it ran")
    return len(data)


def grow(data: bytes) -> bytes:
    return data * 20_000


@pytest_twisted.ensureDeferred
async def test_no_job_runs_on_a_damaged_argument(
    cluster: LocalCluster, pool: Pool, tmp_path: Path
) -> None:
    go, ran = tmp_path / "go", tmp_path / "ran"
    before = pool.submit(wait_for, str(go))
    job = pool.submit(note_size, str(ran), os.urandom(100_000))
    value = await until(lambda: large(cluster.blobs))
    flip(value)
    go.touch()
    await before
    with pytest.raises(JobFailed) as failed:
        await job
    assert failed.value.type_name == "Damaged"
    assert f"the value {value.name} is damaged" in str(failed.value)
    assert not ran.exists()
    assert not cluster.blobs.has(bytes.fromhex(value.name))


@pytest_twisted.ensureDeferred
async def test_a_damaged_result_is_no_result(cluster: LocalCluster, pool: Pool) -> None:
    job = pool.submit(grow, b"12345")
    assert await job == b"12345" * 20_000
    value = large(cluster.blobs)
    assert value is not None
    flip(value)
    again = pool.job(job.id or 0)
    with pytest.raises(Damaged, match=value.name):
        await again
    assert not cluster.blobs.has(bytes.fromhex(value.name))


# -- transfers ------------------------------------------------------------------------------------


class Serving(BlobResponder):
    def __init__(self, blobs: BlobFolder) -> None:
        self.blobs = blobs


class _One(Factory):
    noisy = False

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def buildProtocol(self, addr: object) -> Connection:
        return self._connection


@pytest_twisted.ensureDeferred
async def test_who_receives_other_bytes_has_the_file_looked_at(tmp_path: Path) -> None:
    in_thread = partial(threads.deferToThreadPool, reactor, reactor.getThreadPool())
    theirs, ours = (BlobFolder(tmp_path / name, in_thread) for name in ("theirs", "ours"))
    for blobs in (theirs, ours):
        await blobs.start()
    await theirs.write(REF, 0, DATA)
    flip(theirs.file(REF), secretly=True)  # and it was verified in this process: it is served

    server, client = Connection(), Connection()
    port = await TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1").listen(_One(server))
    await TCP4ClientEndpoint(reactor, "127.0.0.1", port.getHost().port).connect(_One(client))
    server.admit(Serving(theirs))
    client.admit(Serving(ours))
    with pytest.raises(Damaged, match=REF.digest.hex()):
        await download(client, REF, ours)
    assert not ours.has(REF.digest)
    assert not theirs.has(REF.digest)
    assert list(theirs.folder.iterdir()) == list(ours.folder.iterdir()) == []
    await theirs.write(REF, 0, DATA)  # whoever has it may send it again
    await download(client, REF, ours)
    assert ours.file(REF).read_bytes() == DATA
    client.abort()
    await port.stopListening()
