"""Values between two processes of one user: the file itself goes over, by a second name."""

from __future__ import annotations

import hashlib
import os
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import attrs
import pytest
import pytest_twisted
from ampacity.protocol import transfers
from ampacity.protocol.blobs import BlobFolder
from ampacity.protocol.connection import Connection
from ampacity.protocol.errors import Malformed, NoSuchBlob
from ampacity.protocol.jobs import BlobRef
from ampacity.protocol.limits import CHUNK_SIZE
from ampacity.protocol.transfers import BlobResponder, download, upload
from twisted.internet import threads
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import UNIXClientEndpoint, UNIXServerEndpoint
from twisted.internet.protocol import Factory

DATA = os.urandom(1 << 16) * (4 * CHUNK_SIZE >> 16) + b"and a rest"
REF = BlobRef(hashlib.sha256(DATA).digest(), len(DATA))


class Serving(BlobResponder):
    def __init__(self, blobs: BlobFolder, connection: Connection) -> None:
        self.blobs = blobs
        self._connection = connection
        self.told: list[bytes] = []
        self.readable = True

    def may_get(self, digest: bytes) -> bool:
        return self.readable

    def has_sent(self, digest: bytes) -> bool:
        return digest in self.told

    def sent(self, digest: bytes) -> None:
        self.told.append(digest)


class Older(Serving):
    """One that knows nothing of files."""

    def locateResponder(self, name: bytes) -> Any:
        return None if name in (b"PutFile", b"GetFile") else super().locateResponder(name)


@attrs.define
class Ends:
    ours: Connection
    blobs: BlobFolder
    theirs: Serving
    port: Any


class _One(Factory):
    noisy = False

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def buildProtocol(self, addr: object) -> Connection:
        return self._connection


async def connect(folder: Path, kind: type[Serving] = Serving) -> Ends:
    from twisted.internet import reactor as installed

    reactor: Any = installed
    defer = partial(threads.deferToThreadPool, reactor, reactor.getThreadPool())
    blobs = BlobFolder(folder / "ours", defer, durable=False)
    their_blobs = BlobFolder(folder / "theirs", defer)
    await blobs.start()
    await their_blobs.start()
    theirs, ours = Connection(), Connection()
    port = await UNIXServerEndpoint(reactor, str(folder / "socket")).listen(_One(theirs))
    await UNIXClientEndpoint(reactor, str(folder / "socket")).connect(_One(ours))
    serving = kind(their_blobs, theirs)
    ours.admit(BlobResponder())
    theirs.admit(serving)
    return Ends(ours, blobs, serving, port)


@pytest_twisted.async_yield_fixture()
async def ends(tmp_path: Path) -> AsyncIterator[Ends]:
    ends = await connect(tmp_path)
    yield ends
    await gone(ends)


def _fire(lost: Deferred[None], _: object) -> None:
    lost.callback(None)


async def gone(ends: Ends) -> None:
    for end in (ends.ours, ends.theirs._connection):
        lost: Deferred[None] = Deferred()
        end.on_lost(partial(_fire, lost))
        end.abort()
        await lost
    await ends.port.stopListening()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "value"
    file.write_bytes(DATA)
    return file


@pytest_twisted.ensureDeferred
async def test_an_upload_is_a_second_name(ends: Ends, path: Path) -> None:
    await upload(ends.ours, REF, path)
    assert ends.theirs.blobs.file(REF).samefile(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert ends.theirs.told == [REF.digest]


@pytest_twisted.ensureDeferred
async def test_a_download_is_a_second_name(ends: Ends, path: Path) -> None:
    await ends.theirs.blobs.adopt(REF, path, move=True)
    await download(ends.ours, REF, ends.blobs)
    assert ends.blobs.file(REF).samefile(ends.theirs.blobs.file(REF))
    assert ends.blobs.file(REF).read_bytes() == DATA


@pytest_twisted.ensureDeferred
async def test_a_file_with_other_bytes_is_refused(ends: Ends, path: Path) -> None:
    path.write_bytes(DATA[::-1])
    with pytest.raises(Malformed):
        await upload(ends.ours, REF, path)
    assert not ends.theirs.blobs.has(REF.digest)
    assert ends.theirs.told == []


@pytest_twisted.ensureDeferred
async def test_whose_value_it_is_counts_as_for_chunks(ends: Ends, path: Path) -> None:
    await ends.theirs.blobs.adopt(REF, path, move=True)
    ends.theirs.readable = False
    with pytest.raises(NoSuchBlob):
        await download(ends.ours, REF, ends.blobs)
    ends.theirs.readable = True
    missing = BlobRef(bytes(32), 4 * CHUNK_SIZE)
    with pytest.raises(NoSuchBlob):
        await download(ends.ours, missing, ends.blobs)


@pytest_twisted.ensureDeferred
async def test_what_cannot_be_linked_is_sent_in_chunks(
    ends: Ends, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: Any, **__: Any) -> None:
        raise OSError(18, "another file system")

    monkeypatch.setattr(os, "link", refused)
    await upload(ends.ours, REF, path)
    assert not ends.theirs.blobs.file(REF).samefile(path)
    await download(ends.ours, REF, ends.blobs)
    assert ends.blobs.file(REF).read_bytes() == DATA


@pytest_twisted.ensureDeferred
async def test_another_user_gets_chunks(
    ends: Ends, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = iter([True] + [False] * 10)  # the other side sees it
    monkeypatch.setattr(transfers, "is_same_user", lambda _: next(asked))
    await upload(ends.ours, REF, path)
    assert not ends.theirs.blobs.file(REF).samefile(path)
    await download(ends.ours, REF, ends.blobs)
    assert not ends.blobs.file(REF).samefile(ends.theirs.blobs.file(REF))


@pytest_twisted.ensureDeferred
async def test_an_older_peer_gets_chunks(tmp_path: Path, path: Path) -> None:
    (tmp_path / "older").mkdir()
    ends = await connect(tmp_path / "older", Older)
    await upload(ends.ours, REF, path)
    assert not ends.theirs.blobs.file(REF).samefile(path)
    await download(ends.ours, REF, ends.blobs)
    assert ends.blobs.file(REF).read_bytes() == DATA
    await gone(ends)


@pytest_twisted.ensureDeferred
async def test_small_values_are_not_worth_the_question(ends: Ends, tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.write_bytes(b"small")
    ref = BlobRef(hashlib.sha256(b"small").digest(), 5)
    await upload(ends.ours, ref, small)
    assert not ends.theirs.blobs.file(ref).samefile(small)
