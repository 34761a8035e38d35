"""Files that another process of the same user offers: linked, verified, never believed."""

from __future__ import annotations

import hashlib
import os
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from ampacity.protocol import blobfiles
from ampacity.protocol.blobfiles import WrongBytes
from ampacity.protocol.blobs import BlobFolder
from ampacity.protocol.errors import Malformed
from ampacity.protocol.jobs import BlobRef
from twisted.internet import threads

DATA = bytes(range(256)) * 8
REF = BlobRef(hashlib.sha256(DATA).digest(), len(DATA))
OTHER = BlobRef(hashlib.sha256(b"other").digest(), len(DATA))


def in_thread() -> Any:
    from twisted.internet import reactor as installed

    reactor: Any = installed
    return partial(threads.deferToThreadPool, reactor, reactor.getThreadPool())


async def opened(folder: Path, durable: bool = True) -> BlobFolder:
    blobs = BlobFolder(folder / "blobs", in_thread(), durable=durable)
    await blobs.start()
    return blobs


def file_of(folder: Path, data: bytes = DATA, mode: int = 0o600) -> Path:
    path = folder / "offered"
    path.write_bytes(data)
    path.chmod(mode)
    return path


def is_empty(blobs: BlobFolder) -> bool:
    return not list(blobs.folder.iterdir()) and not blobs.half_sent()


@pytest.mark.parametrize("durable", [True, False])
@pytest_twisted.ensureDeferred
async def test_an_offered_file_is_a_blob_without_a_copy(tmp_path: Path, durable: bool) -> None:
    blobs = await opened(tmp_path, durable)
    source = file_of(tmp_path)
    assert await blobs.offered(REF, source, "sender") is True
    assert blobs.file(REF).samefile(source)
    source.unlink()
    assert (await blobs.path(REF)).read_bytes() == DATA
    assert not blobs.half_sent()


@pytest_twisted.ensureDeferred
async def test_it_is_read_in_parts_and_others_have_their_turn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blobfiles, "VERIFIED_AT_ONCE", 1000)
    monkeypatch.setattr(blobfiles, "_READ_BYTES", 300)
    blobs = await opened(tmp_path)
    assert await blobs.offered(REF, file_of(tmp_path), "sender") is True
    assert blobs.file(REF).read_bytes() == DATA


@pytest_twisted.ensureDeferred
async def test_other_bytes_are_refused(tmp_path: Path) -> None:
    blobs = await opened(tmp_path)
    with pytest.raises(WrongBytes):
        await blobs.offered(OTHER, file_of(tmp_path), "sender")
    assert not blobs.has(OTHER.digest)
    assert is_empty(blobs)


@pytest_twisted.ensureDeferred
async def test_what_is_no_file_of_this_user_alone_is_not_taken(tmp_path: Path) -> None:
    blobs = await opened(tmp_path)
    assert await blobs.offered(REF, tmp_path / "nothing", "sender") is False
    assert await blobs.offered(REF, tmp_path, "sender") is False
    assert await blobs.offered(REF, Path("/offered\0"), "sender") is False
    assert await blobs.offered(REF, file_of(tmp_path, mode=0o644), "sender") is False
    assert await blobs.offered(REF, file_of(tmp_path, DATA + b"more"), "sender") is False
    file_of(tmp_path)
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "offered")
    assert await blobs.offered(REF, link, "sender") is False
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo, 0o600)
    assert await blobs.offered(REF, fifo, "sender") is False
    assert is_empty(blobs)


@pytest_twisted.ensureDeferred
async def test_one_that_is_written_to_meanwhile_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blobs = await opened(tmp_path)
    source = file_of(tmp_path)
    usual = blobfiles._hash_some

    def disturbed(*arguments: Any) -> bool:
        more = usual(*arguments)
        os.utime(source, ns=(0, 1))
        return more

    monkeypatch.setattr(blobfiles, "_hash_some", disturbed)
    with pytest.raises(WrongBytes):
        await blobs.offered(REF, source, "sender")
    assert is_empty(blobs)


@pytest_twisted.ensureDeferred
async def test_of_what_is_here_already_it_is_seen_that_the_sender_has_it(tmp_path: Path) -> None:
    blobs = await opened(tmp_path)
    await blobs.write(REF, 0, DATA)
    assert await blobs.offered(REF, file_of(tmp_path), "sender") is True
    assert not blobs.file(REF).samefile(tmp_path / "offered")
    with pytest.raises(WrongBytes):
        await blobs.offered(REF, file_of(tmp_path, bytes(len(DATA))), "another")
    assert blobs.file(REF).read_bytes() == DATA
    assert len(list(blobs.folder.iterdir())) == 1


@pytest_twisted.ensureDeferred
async def test_it_takes_the_place_of_chunks_that_were_given_up(tmp_path: Path) -> None:
    blobs = await opened(tmp_path)
    await blobs.write(REF, 0, DATA[:100], "sender")
    assert await blobs.offered(REF, file_of(tmp_path), "sender") is True
    assert len(list(blobs.folder.iterdir())) == 1


@pytest_twisted.ensureDeferred
async def test_who_goes_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blobfiles, "VERIFIED_AT_ONCE", 100)
    monkeypatch.setattr(blobfiles, "_READ_BYTES", 100)
    blobs = await opened(tmp_path)
    offered = blobs.offered(REF, file_of(tmp_path), "sender")
    blobs.drop_uploads("sender")
    with pytest.raises(Malformed):
        await offered
    assert is_empty(blobs)


@pytest_twisted.ensureDeferred
async def test_a_verified_file_is_linked_to_where_nothing_must_last(tmp_path: Path) -> None:
    blobs = await opened(tmp_path, durable=False)
    source = file_of(tmp_path)
    assert await blobs.link(REF, source) is True
    assert blobs.file(REF).samefile(source)
    assert await blobs.link(REF, tmp_path / "nothing") is True  # it is here
    assert await blobs.link(OTHER, tmp_path / "nothing") is False
    await blobs.remove(REF.digest)
    assert source.read_bytes() == DATA
    lasting = await opened(tmp_path / "lasting")
    assert await lasting.link(REF, source) is False
    lent = BlobFolder(tmp_path / "lent", in_thread(), durable=False, alone=True)
    await lent.start()
    assert await lent.link(REF, source) is False
    assert source.stat().st_nlink == 1
