"""The folder of blobs: whole or not there, verified, in order, and private."""

from __future__ import annotations

import hashlib
import stat
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from ampacity.protocol.blobs import BlobFolder
from ampacity.protocol.errors import Malformed, NoSuchBlob, QueueFull
from ampacity.protocol.jobs import BlobRef
from twisted.internet import threads
from twisted.internet.defer import Deferred, gatherResults

DATA = bytes(range(256)) * 8


def ref_of(data: bytes) -> BlobRef:
    return BlobRef(hashlib.sha256(data).digest(), len(data))


REF = ref_of(DATA)


def in_thread() -> Any:
    from twisted.internet import reactor as installed

    reactor: Any = installed
    return partial(threads.deferToThreadPool, reactor, reactor.getThreadPool())


async def opened(folder: Path) -> BlobFolder:
    blobs = BlobFolder(folder / "blobs", in_thread())
    await blobs.start()
    return blobs


async def fails_with(kind: type[Exception], deferred: Deferred[Any]) -> None:
    with pytest.raises(kind):
        await deferred


@pytest_twisted.ensureDeferred
async def test_chunks_make_a_blob(tmp_path: Path) -> None:
    blobs = await opened(tmp_path)
    assert await blobs.write(REF, 0, DATA[:1000]) is False
    assert not blobs.has(REF.digest)
    assert await blobs.write(REF, 1000, DATA[1000:]) is True
    assert blobs.has(REF.digest)
    assert blobs.path(REF).read_bytes() == DATA
    assert await blobs.read(REF.digest, 1000, 10) == DATA[1000:1010]
    assert await blobs.read(REF.digest, len(DATA), 10) == b""
    assert await blobs.write(REF, 0, b"again") is True


@pytest_twisted.ensureDeferred
async def test_chunks_in_flight_are_written_in_order(tmp_path: Path) -> None:
    blobs = await opened(tmp_path)
    chunks = [blobs.write(REF, n, DATA[n : n + 100]) for n in range(0, len(DATA), 100)]
    answers = await gatherResults(chunks)
    assert answers[-1] is True
    assert not any(answers[:-1])


@pytest_twisted.ensureDeferred
async def test_two_may_send_the_same_blob_at_once(tmp_path: Path) -> None:
    blobs = await opened(tmp_path)
    await blobs.write(REF, 0, DATA[:1000])
    await blobs.write(REF, 0, DATA[:600])
    await blobs.write(REF, 600, DATA[600:1200])
    assert await blobs.write(REF, 1000, DATA[1000:]) is True
    assert blobs.path(REF).read_bytes() == DATA


@pytest_twisted.ensureDeferred
async def test_an_empty_blob(tmp_path: Path) -> None:
    blobs = await opened(tmp_path)
    assert await blobs.write(ref_of(b""), 0, b"") is True
    assert blobs.path(ref_of(b"")).read_bytes() == b""


@pytest_twisted.ensureDeferred
async def test_wrong_bytes_are_refused_and_can_be_sent_again(tmp_path: Path) -> None:
    blobs = await opened(tmp_path)
    await blobs.write(REF, 0, bytes(1000))
    await fails_with(Malformed, blobs.write(REF, 1000, DATA[1000:]))
    assert not blobs.has(REF.digest)
    assert list(blobs.folder.iterdir()) == []
    assert await blobs.write(REF, 0, DATA) is True


@pytest_twisted.ensureDeferred
async def test_a_gap_or_too_many_bytes_are_refused(tmp_path: Path) -> None:
    blobs = await opened(tmp_path)
    await fails_with(Malformed, blobs.write(REF, 10, DATA[10:20]))
    await fails_with(Malformed, blobs.write(REF, 0, DATA + b"more"))


@pytest_twisted.ensureDeferred
async def test_only_the_user_may_read(tmp_path: Path) -> None:
    blobs = await opened(tmp_path)
    await blobs.write(REF, 0, DATA)
    source = tmp_path / "source"
    source.write_bytes(b"other")
    source.chmod(0o644)
    await blobs.adopt(ref_of(b"other"), source, move=True)
    assert stat.S_IMODE(blobs.folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in blobs.folder.iterdir()} == {0o600}


@pytest_twisted.ensureDeferred
async def test_a_copy_leaves_the_file_and_is_verified(tmp_path: Path) -> None:
    blobs = await opened(tmp_path)
    source = tmp_path / "source"
    source.write_bytes(DATA)
    await fails_with(Malformed, blobs.adopt(ref_of(b"other"), source, move=False))
    await blobs.adopt(REF, source, move=False)
    assert source.read_bytes() == DATA
    assert blobs.path(REF).read_bytes() == DATA
    assert await blobs.hash_file(source) == REF


@pytest_twisted.ensureDeferred
async def test_a_moved_file_is_taken_even_if_the_blob_is_there(tmp_path: Path) -> None:
    blobs = await opened(tmp_path)
    for _ in range(2):
        source = tmp_path / "source"
        source.write_bytes(DATA)
        await blobs.adopt(REF, source, move=True)
        assert not source.exists()
    source.write_bytes(DATA)
    await fails_with(Malformed, blobs.adopt(ref_of(b"short"), source, move=True))


@pytest_twisted.ensureDeferred
async def test_what_is_not_there(tmp_path: Path) -> None:
    blobs = await opened(tmp_path)
    await fails_with(NoSuchBlob, blobs.read(REF.digest, 0, 10))
    with pytest.raises(NoSuchBlob):
        blobs.path(REF)
    await blobs.write(REF, 0, DATA)
    with pytest.raises(NoSuchBlob):
        blobs.path(BlobRef(REF.digest, 1))


@pytest_twisted.ensureDeferred
async def test_a_removed_blob_is_gone_at_once_and_may_come_back(tmp_path: Path) -> None:
    blobs = await opened(tmp_path)
    await blobs.write(REF, 0, DATA)
    removed = blobs.remove(REF.digest)
    assert not blobs.has(REF.digest)
    assert await blobs.write(REF, 0, DATA) is True
    await removed
    assert blobs.path(REF).read_bytes() == DATA
    await blobs.remove(REF.digest)
    assert list(blobs.folder.iterdir()) == []
    await blobs.remove(REF.digest)


@pytest_twisted.ensureDeferred
async def test_a_start_finds_blobs_and_removes_half_uploads(tmp_path: Path) -> None:
    blobs = await opened(tmp_path)
    await blobs.write(REF, 0, DATA)
    await blobs.write(ref_of(b"half"), 0, b"ha")
    again = await opened(tmp_path)
    assert list(again.digests()) == [REF.digest]
    assert [path.suffix for path in again.folder.iterdir()] == [""]


@pytest_twisted.ensureDeferred
async def test_an_upload_that_does_not_go_on_is_removed(tmp_path: Path) -> None:
    blobs = await opened(tmp_path)
    half = ref_of(b"half")
    await blobs.write(half, 0, b"ha")
    blobs.drop_stale_uploads()
    assert await blobs.write(half, 2, b"l") is False
    blobs.drop_stale_uploads()
    blobs.drop_stale_uploads()
    await fails_with(Malformed, blobs.write(half, 3, b"f"))
    assert list(blobs.folder.iterdir()) == []


@pytest_twisted.ensureDeferred
async def test_a_full_disk_is_named(tmp_path: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("needs /dev/full")
    blobs = await opened(tmp_path)
    (blobs.folder / REF.digest.hex()).with_suffix(".part").symlink_to("/dev/full")
    await fails_with(QueueFull, blobs.write(REF, 0, DATA))
