"""The folder of blobs: whole or not there, verified, in order, and private."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from functools import partial
from pathlib import Path
from typing import Any

import attrs
import pytest
import pytest_twisted
from ampacity.protocol.blobfiles import SyncFailed
from ampacity.protocol.blobs import BlobFolder
from ampacity.protocol.errors import Damaged, Malformed, NoSuchBlob, StorageFull
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


async def opened(folder: Path, durable: bool = True) -> BlobFolder:
    blobs = BlobFolder(folder / "blobs", in_thread(), durable=durable)
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
    assert blobs.file(REF).read_bytes() == DATA
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
    assert blobs.file(REF).read_bytes() == DATA


@pytest_twisted.ensureDeferred
async def test_an_empty_blob(tmp_path: Path) -> None:
    blobs = await opened(tmp_path)
    assert await blobs.write(ref_of(b""), 0, b"") is True
    assert blobs.file(ref_of(b"")).read_bytes() == b""


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
    assert blobs.file(REF).read_bytes() == DATA
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
    await fails_with(NoSuchBlob, blobs.path(REF))
    with pytest.raises(NoSuchBlob):
        blobs.file(REF)
    await blobs.write(REF, 0, DATA)
    await fails_with(NoSuchBlob, blobs.path(BlobRef(REF.digest, 1)))
    with pytest.raises(NoSuchBlob):
        blobs.file(BlobRef(REF.digest, 1))


@pytest_twisted.ensureDeferred
async def test_a_removed_blob_is_gone_at_once_and_may_come_back(tmp_path: Path) -> None:
    blobs = await opened(tmp_path)
    await blobs.write(REF, 0, DATA)
    removed = blobs.remove(REF.digest)
    assert not blobs.has(REF.digest)
    assert await blobs.write(REF, 0, DATA) is True
    await removed
    assert blobs.file(REF).read_bytes() == DATA
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
async def test_files_that_are_no_blobs_are_left_alone(tmp_path: Path) -> None:
    blobs = await opened(tmp_path)
    strangers = [blobs.folder / ("x" * 64), blobs.folder / "notes.txt", blobs.folder / ("AB" * 32)]
    for path in strangers:
        path.write_text("kept")
    again = await opened(tmp_path)
    assert list(again.digests()) == []
    assert all(path.exists() for path in strangers)


@pytest_twisted.ensureDeferred
async def test_a_half_upload_and_a_whole_file_do_not_mix(tmp_path: Path) -> None:
    blobs = await opened(tmp_path)
    await blobs.write(REF, 0, DATA[:1000])
    other = tmp_path / "other"
    other.write_bytes(bytes(len(DATA)))
    await fails_with(Malformed, blobs.adopt(REF, other, move=False))
    assert await blobs.write(REF, 1000, DATA[1000:]) is True
    assert blobs.file(REF).read_bytes() == DATA
    assert list(blobs.folder.iterdir()) == [blobs.file(REF)]


# -- who has sent it ------------------------------------------------------------------------------


@pytest_twisted.ensureDeferred
async def test_who_names_himself_sends_all_of_it(tmp_path: Path) -> None:
    blobs = await opened(tmp_path)
    assert await blobs.write(REF, 0, DATA, "a") is True
    assert await blobs.write(REF, 0, DATA[:1000], "b") is False
    await fails_with(Malformed, blobs.write(REF, 2000, DATA[2000:], "b"))
    assert await blobs.write(REF, 1000, DATA[1000:], "b") is True
    assert list(blobs.folder.iterdir()) == [blobs.file(REF)]


@pytest_twisted.ensureDeferred
async def test_what_is_here_is_hashed_and_not_written(tmp_path: Path) -> None:
    blobs = await opened(tmp_path)
    await blobs.write(REF, 0, DATA, "a")
    file = blobs.file(REF)
    file.chmod(0o400)
    before = file.stat()
    await blobs.write(REF, 0, DATA[:1000], "b")
    assert list(blobs.folder.iterdir()) == [file]
    await blobs.write(REF, 1000, DATA[1000:], "b")
    assert file.stat() == before


@pytest_twisted.ensureDeferred
async def test_who_has_other_bytes_shows_nothing(tmp_path: Path) -> None:
    blobs = await opened(tmp_path)
    await blobs.write(REF, 0, DATA, "a")
    await fails_with(Malformed, blobs.write(REF, 0, bytes(len(DATA)), "b"))
    await fails_with(Malformed, blobs.write(REF, 0, DATA + b"more", "b"))
    lying = BlobRef(REF.digest, 10)
    await fails_with(Malformed, blobs.write(lying, 0, DATA[:10], "b"))
    assert blobs.has(REF.digest)
    assert blobs.file(REF).read_bytes() == DATA


@pytest_twisted.ensureDeferred
async def test_no_sender_rides_on_the_upload_of_another_nor_spoils_it(tmp_path: Path) -> None:
    blobs = await opened(tmp_path)
    assert await blobs.write(REF, 0, DATA[:1000], "a") is False
    assert await blobs.write(REF, 0, bytes(1000), "b") is False
    await fails_with(Malformed, blobs.write(REF, 2000, DATA[2000:], "b"))
    assert await blobs.write(REF, 1000, DATA[1000:], "a") is True
    await fails_with(Malformed, blobs.write(REF, 1000, DATA[1000:], "b"))
    assert blobs.file(REF).read_bytes() == DATA
    assert list(blobs.folder.iterdir()) == [blobs.file(REF)]


@pytest_twisted.ensureDeferred
async def test_a_blob_that_goes_while_it_is_shown_was_shown_all_the_same(tmp_path: Path) -> None:
    blobs = await opened(tmp_path)
    await blobs.write(REF, 0, DATA, "a")
    await blobs.write(REF, 0, DATA[:1000], "b")
    await blobs.remove(REF.digest)
    assert await blobs.write(REF, 1000, DATA[1000:], "b") is True
    assert not blobs.has(REF.digest)
    assert list(blobs.folder.iterdir()) == []


@pytest_twisted.ensureDeferred
async def test_what_a_sender_leaves_unfinished_is_removed_with_him(tmp_path: Path) -> None:
    blobs = await opened(tmp_path)
    await blobs.write(REF, 0, DATA[:1000], "a")
    await blobs.write(REF, 0, DATA[:500], "b")
    blobs.drop_uploads("a")
    await blobs.write(REF, 500, DATA[500:1000], "b")
    (left,) = blobs.folder.iterdir()
    assert left.stat().st_size == 1000
    await fails_with(Malformed, blobs.write(REF, 1000, DATA[1000:], "a"))


# -- durable --------------------------------------------------------------------------------------


@attrs.define
class Recorder:
    """The calls that decide what a power cut leaves, in their order."""

    calls: list[str] = attrs.field(factory=list)

    def watch(self, patch: pytest.MonkeyPatch) -> None:
        sync, rename = os.fsync, Path.replace

        def fsync(descriptor: int) -> None:
            name = Path(f"/proc/self/fd/{descriptor}").readlink().name
            self.calls.append(f"sync {Path(name).suffix or name[:6]}")
            sync(descriptor)

        def replace(path: Path, to: Path) -> Path:
            self.calls.append("rename")
            return rename(path, to)

        patch.setattr(os, "fsync", fsync)
        patch.setattr(Path, "replace", replace)


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    if not Path("/proc/self/fd").exists():
        pytest.skip("needs /proc")
    recorder = Recorder()
    recorder.watch(monkeypatch)
    return recorder.calls


@pytest_twisted.ensureDeferred
async def test_a_blob_is_on_the_disk_before_it_is_said_to_be_here(
    tmp_path: Path, recorded: list[str]
) -> None:
    blobs = await opened(tmp_path)
    assert recorded == [f"sync {tmp_path.name[:6]}"]  # the new folder's own name
    recorded.clear()
    await blobs.write(REF, 0, DATA)
    assert recorded == ["sync .part", "rename", "sync blobs"]
    source = tmp_path / "source"
    for move in (False, True):
        await blobs.remove(REF.digest)
        recorded.clear()
        source.write_bytes(DATA)
        await blobs.adopt(REF, source, move=move)
        assert recorded == [f"sync {'source' if move else '.part'}", "rename", "sync blobs"]


@pytest_twisted.ensureDeferred
async def test_a_temporary_folder_is_not_synced(tmp_path: Path, recorded: list[str]) -> None:
    blobs = await opened(tmp_path, durable=False)
    await blobs.write(REF, 0, DATA)
    assert recorded == ["rename"]


@pytest_twisted.ensureDeferred
async def test_a_sync_that_fails_is_told_and_the_blob_is_not_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blobs = await opened(tmp_path)
    broken: list[SyncFailed] = []
    blobs.on_broken = broken.append

    def failing(_: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    source = tmp_path / "source"
    source.write_bytes(DATA)
    monkeypatch.setattr(os, "fsync", failing)
    await fails_with(SyncFailed, blobs.write(REF, 0, DATA))
    await fails_with(SyncFailed, blobs.adopt(REF, source, move=True))
    await fails_with(SyncFailed, blobs.adopt(REF, source, move=False))
    assert len(broken) == 3
    assert not blobs.has(REF.digest)
    assert source.read_bytes() == DATA
    assert list(blobs.folder.iterdir()) == []


@pytest_twisted.ensureDeferred
async def test_a_file_of_another_file_system_is_copied_and_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blobs = await opened(tmp_path)
    source = tmp_path / "source"
    source.write_bytes(DATA)
    rename = Path.replace

    def replace(path: Path, to: Path) -> Path:
        if path == source:
            raise OSError(errno.EXDEV, "Invalid cross-device link")
        return rename(path, to)

    monkeypatch.setattr(Path, "replace", replace)
    await blobs.adopt(REF, source, move=True)
    assert not source.exists()
    assert blobs.file(REF).read_bytes() == DATA


# -- damage ---------------------------------------------------------------------------------------


def flip(path: Path) -> None:
    """Change one bit, and not the times of the file."""
    about, data = path.stat(), bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data)
    os.utime(path, ns=(about.st_atime_ns, about.st_mtime_ns))


async def damaged(folder: Path) -> BlobFolder:
    """A folder as a new process finds it, after a bit has flipped."""
    blobs = await opened(folder)
    await blobs.write(REF, 0, DATA)
    flip(blobs.file(REF))
    return await opened(folder)


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize("how", ["path", "read"])
async def test_a_damaged_file_is_named_and_dropped(tmp_path: Path, how: str) -> None:
    blobs = await damaged(tmp_path)
    assert blobs.has(REF.digest)
    with pytest.raises(Damaged, match=REF.digest.hex()):
        await (blobs.path(REF) if how == "path" else blobs.read(REF.digest, 0, 10))
    assert not blobs.has(REF.digest)
    assert list(blobs.folder.iterdir()) == []
    await fails_with(NoSuchBlob, blobs.path(REF))
    assert await blobs.write(REF, 0, DATA) is True
    assert (await blobs.path(REF)).read_bytes() == DATA


@pytest_twisted.ensureDeferred
async def test_a_file_that_was_cut_is_damaged(tmp_path: Path) -> None:
    blobs = await opened(tmp_path)
    await blobs.write(REF, 0, DATA)
    os.truncate(blobs.file(REF), 100)
    blobs = await opened(tmp_path)
    await fails_with(Damaged, blobs.path(REF))
    assert not blobs.has(REF.digest)


@pytest_twisted.ensureDeferred
async def test_a_file_is_verified_once_and_again_when_it_was_written_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blobs = await opened(tmp_path)
    await blobs.write(REF, 0, DATA)
    blobs = await opened(tmp_path)
    hashed: list[str] = []
    file_digest = hashlib.file_digest

    def counting(file: Any, name: str) -> Any:
        hashed.append(file.name)
        return file_digest(file, name)

    monkeypatch.setattr(hashlib, "file_digest", counting)
    paths = await gatherResults([blobs.path(REF) for _ in range(5)])
    assert paths == [blobs.file(REF)] * 5
    await blobs.read(REF.digest, 0, 10)
    assert len(hashed) == 1
    blobs.file(REF).write_bytes(bytes(len(DATA)))
    await fails_with(Damaged, blobs.path(REF))


@pytest_twisted.ensureDeferred
async def test_a_file_in_doubt_is_verified_again(tmp_path: Path) -> None:
    blobs = await opened(tmp_path)
    await blobs.write(REF, 0, DATA)
    flip(blobs.file(REF))  # nobody can see it from the file's times
    assert await blobs.path(REF)
    blobs.doubt(REF.digest)
    await fails_with(Damaged, blobs.path(REF))


@pytest_twisted.ensureDeferred
async def test_a_file_that_is_gone_is_not_there(tmp_path: Path) -> None:
    blobs = await opened(tmp_path)
    await blobs.write(REF, 0, DATA)
    blobs.file(REF).unlink()
    await fails_with(NoSuchBlob, blobs.path(REF))
    assert not blobs.has(REF.digest)


# -- a full disk ----------------------------------------------------------------------------------


@pytest_twisted.ensureDeferred
async def test_a_full_disk_is_named(tmp_path: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("needs /dev/full")
    blobs = await opened(tmp_path)
    (blobs.folder / REF.digest.hex()).with_suffix(".0.part").symlink_to("/dev/full")
    await fails_with(StorageFull, blobs.write(REF, 0, DATA))
    assert list(blobs.folder.iterdir()) == []


@pytest_twisted.ensureDeferred
async def test_a_full_disk_keeps_what_was_to_be_taken(tmp_path: Path, sized_tmpfs: Any) -> None:
    blobs = BlobFolder(sized_tmpfs(256 * 1024) / "blobs", in_thread())
    await blobs.start()
    data = os.urandom(1024 * 1024)
    ref, source = ref_of(data), tmp_path / "source"
    source.write_bytes(data)
    for move in (True, False):
        await fails_with(StorageFull, blobs.adopt(ref, source, move=move))
        assert source.read_bytes() == data
    await fails_with(StorageFull, blobs.write(ref, 0, data))
    assert list(blobs.folder.iterdir()) == []
    assert await blobs.write(REF, 0, DATA) is True
