"""Chunks: how many are on their way, who shares them, and what is left after a failure."""

from __future__ import annotations

import hashlib
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from ampacity.protocol.blobfiles import WrongBytes
from ampacity.protocol.blobs import BlobFolder
from ampacity.protocol.commands import GetChunk, PutChunk
from ampacity.protocol.connection import Connection
from ampacity.protocol.errors import Damaged, Disconnected, Malformed, NoSuchBlob
from ampacity.protocol.fairness import FairGate
from ampacity.protocol.faults import parse_answer
from ampacity.protocol.forms import END
from ampacity.protocol.jobs import BlobRef
from ampacity.protocol.limits import CHUNK_SIZE, CHUNKS_IN_FLIGHT
from ampacity.protocol.transfers import BlobResponder, download, upload
from twisted.internet.defer import CancelledError, Deferred, fail, maybeDeferred, succeed
from twisted.protocols.amp import parseString
from twisted.python.failure import Failure

BYTES = bytes(range(251)) * (10 * CHUNK_SIZE // 251)
REF = BlobRef(hashlib.sha256(BYTES).digest(), len(BYTES))


class Asked(Connection):
    """A connection that answers nothing by itself."""

    def __init__(self) -> None:
        self.questions: list[tuple[Any, dict[str, Any], Deferred[dict[str, Any]]]] = []

    def call(self, command: Any, **arguments: Any) -> Deferred[dict[str, Any]]:
        answer: Deferred[dict[str, Any]] = Deferred()
        self.questions.append((command, arguments, answer))
        return answer

    def offsets(self) -> list[int]:
        return [arguments["offset"] for _, arguments, _ in self.questions]

    def answer(self, place: int, **values: Any) -> None:
        self.questions[place][2].callback(values)


class Folder(BlobFolder):
    """A folder of blobs in memory that wants the bytes of each in order."""

    def __init__(self) -> None:
        self.turns = FairGate(16, 8)
        self.parts: dict[bytes, bytes] = {}
        self.whole: dict[bytes, bytes] = {}
        self.writes: list[int] = []

    def has(self, digest: bytes) -> bool:
        return digest in self.whole

    def write(self, ref: BlobRef, offset: int, data: bytes, sender: Any = None) -> Deferred[bool]:
        self.writes.append(offset)
        before = b"" if offset == 0 else self.parts[ref.digest]
        assert len(before) == offset
        self.parts[ref.digest] = before + data
        if len(before) + len(data) < ref.size:
            return succeed(False)
        if hashlib.sha256(self.parts[ref.digest]).digest() != ref.digest:
            return fail(WrongBytes())
        self.whole[ref.digest] = self.parts.pop(ref.digest)
        return succeed(True)

    def read(self, digest: bytes, offset: int, size: int) -> Deferred[bytes]:
        if digest not in self.whole:
            return fail(NoSuchBlob())
        return succeed(self.whole[digest][offset : offset + size])


def at_once(function: Any, *arguments: Any) -> Deferred[Any]:
    return maybeDeferred(function, *arguments)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "value"
    file.write_bytes(BYTES)
    return file


def chunk(offset: int) -> bytes:
    return BYTES[offset : offset + CHUNK_SIZE]


def error_of(deferred: Deferred[Any]) -> Any:
    errors: list[Any] = []

    def take(failure: Failure) -> None:
        errors.append(failure.value)

    deferred.addErrback(take)
    assert errors, "it has not failed"
    return errors[0]


def value_of(deferred: Deferred[Any]) -> Any:
    values: list[Any] = []
    deferred.addCallback(values.append)
    assert values, "it has not fired"
    return values[0]


# -- upload ---------------------------------------------------------------------------------------


def test_the_first_chunk_is_sent_alone_and_then_as_many_as_may_be_on_their_way(path: Path) -> None:
    peer = Asked()
    done = upload(peer, REF, path, at_once)
    assert peer.offsets() == [0]
    peer.answer(0, have=False)
    assert peer.offsets() == [CHUNK_SIZE * n for n in range(1 + CHUNKS_IN_FLIGHT)]
    peer.answer(1, have=False)
    assert len(peer.questions) == 2 + CHUNKS_IN_FLIGHT
    for place in range(2, 10):
        peer.answer(place, have=place == 9)
    assert value_of(done) is None
    sent = b"".join(arguments["data"] for _, arguments, _ in peer.questions)
    assert sent == BYTES
    assert {command for command, _, _ in peer.questions} == {PutChunk}


def test_what_the_other_side_has_is_not_sent(path: Path) -> None:
    peer = Asked()
    done = upload(peer, REF, path, at_once)
    peer.answer(0, have=True)
    assert value_of(done) is None
    assert len(peer.questions) == 1


def test_a_value_of_no_bytes_is_one_chunk(tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.touch()
    peer = Asked()
    done = upload(peer, BlobRef(hashlib.sha256().digest(), 0), empty, at_once)
    assert peer.questions[0][1]["data"] == b""
    peer.answer(0, have=True)
    assert value_of(done) is None


def test_a_file_that_is_too_short_is_no_value(path: Path) -> None:
    path.write_bytes(BYTES[: 2 * CHUNK_SIZE + 1])
    peer = Asked()
    done = upload(peer, REF, path, at_once)
    peer.answer(0, have=False)
    assert isinstance(error_of(done), Malformed)
    peer.questions[-1][2].errback(Disconnected())  # nobody is left to hear it


def test_a_missing_file_fails_the_upload(tmp_path: Path) -> None:
    assert isinstance(error_of(upload(Asked(), REF, tmp_path / "none", at_once)), FileNotFoundError)


def test_an_upload_that_is_never_complete_fails(path: Path) -> None:
    peer = Asked()
    done = upload(peer, REF, path, at_once)
    for place in range(10):
        peer.answer(place, have=False)
    assert isinstance(error_of(done), Malformed)


def test_two_uploads_of_one_value_send_it_once(path: Path) -> None:
    peer = Asked()
    both = [upload(peer, REF, path, at_once) for _ in range(2)]
    peer.answer(0, have=True)
    assert [value_of(done) for done in both] == [None, None]
    assert len(peer.questions) == 1


def test_a_transfer_ends_early_only_when_nobody_waits_for_it(path: Path) -> None:
    peer = Asked()
    first, second = (upload(peer, REF, path, at_once) for _ in range(2))
    first.cancel()
    assert isinstance(error_of(first), CancelledError)
    peer.answer(0, have=False)
    assert len(peer.questions) == 1 + CHUNKS_IN_FLIGHT
    second.cancel()
    assert isinstance(error_of(second), CancelledError)
    peer.answer(1, have=False)
    assert len(peer.questions) == 1 + CHUNKS_IN_FLIGHT


def test_a_failed_upload_can_be_taken_up_again(path: Path) -> None:
    peer = Asked()
    failed = upload(peer, REF, path, at_once)
    peer.questions[0][2].errback(Disconnected())
    assert isinstance(error_of(failed), Disconnected)
    again = upload(peer, REF, path, at_once)
    peer.answer(1, have=True)
    assert value_of(again) is None


# -- download -------------------------------------------------------------------------------------


def test_so_many_chunks_are_asked_for_and_written_in_order() -> None:
    peer, folder = Asked(), Folder()
    done = download(peer, REF, folder)
    assert peer.offsets() == [CHUNK_SIZE * n for n in range(CHUNKS_IN_FLIGHT)]
    peer.answer(1, data=chunk(CHUNK_SIZE))
    assert folder.writes == []
    peer.answer(0, data=chunk(0))
    assert folder.writes == [0, CHUNK_SIZE]
    for place in range(2, 10):
        peer.answer(place, data=chunk(place * CHUNK_SIZE))
    assert value_of(done) is None
    assert folder.whole == {REF.digest: BYTES}
    assert {command for command, _, _ in peer.questions} == {GetChunk}


def test_what_is_there_is_not_fetched() -> None:
    peer, folder = Asked(), Folder()
    folder.whole[REF.digest] = BYTES
    assert value_of(download(peer, REF, folder)) is None
    assert peer.questions == []


def test_a_short_chunk_fails_the_download() -> None:
    peer = Asked()
    done = download(peer, REF, Folder())
    peer.answer(0, data=b"too short")
    assert isinstance(error_of(done), Malformed)
    for place in (1, 2, 3):
        peer.questions[place][2].errback(Disconnected())


def give(peer: Asked, first: int, right: bool) -> None:
    """Answer ten questions, from this one on, with all bytes of the value, or of another one."""
    for place in range(10):
        data = chunk(place * CHUNK_SIZE)
        peer.answer(first + place, data=data if right else bytes(len(data)))


def test_bytes_with_another_hash_are_asked_for_once_more() -> None:
    peer, folder = Asked(), Folder()
    done = download(peer, REF, folder)
    give(peer, 0, right=False)
    assert peer.questions[10][1] == {"digest": REF.digest, "offset": 0, "again": True}
    assert all("again" not in arguments for _, arguments, _ in peer.questions[11:])
    give(peer, 10, right=True)
    assert value_of(done) is None
    assert folder.whole == {REF.digest: BYTES}


def test_bytes_that_have_another_hash_twice_are_not_kept() -> None:
    peer, folder = Asked(), Folder()
    done = download(peer, REF, folder)
    give(peer, 0, right=False)
    give(peer, 10, right=False)
    error = error_of(done)
    assert isinstance(error, Damaged)
    assert REF.digest.hex() in str(error)
    assert not folder.has(REF.digest)


def test_two_downloads_share_one_transfer_and_its_failure() -> None:
    peer = Asked()
    both = [download(peer, REF, Folder()) for _ in range(2)]
    assert len(peer.questions) == CHUNKS_IN_FLIGHT
    peer.questions[0][2].errback(NoSuchBlob())
    assert [type(error_of(done)) for done in both] == [NoSuchBlob, NoSuchBlob]


def test_transfers_of_different_connections_are_their_own() -> None:
    peers = Asked(), Asked()
    waiting = [download(peer, REF, Folder()) for peer in peers]
    assert [len(peer.questions) for peer in peers] == [CHUNKS_IN_FLIGHT] * 2
    for done in waiting:
        done.cancel()
        error_of(done)


# -- the side that serves -------------------------------------------------------------------------


def _read(command: Any, values: bytes) -> dict[str, Any]:
    (box,) = parseString(values + END)
    return parse_answer(box, command)


class Serving(BlobResponder):
    def __init__(self, blobs: Any) -> None:
        self.blobs = blobs

    def ask(self, command: Any, **arguments: Any) -> Deferred[dict[str, Any]]:
        """As over a wire."""
        responder = self.locateResponder(command.commandName)
        answer: Deferred[Any] = maybeDeferred(responder, command.makeArguments(arguments, self))
        return answer.addCallback(partial(_read, command))


def put(serving: Serving, offset: int, data: bytes, ref: BlobRef = REF) -> Deferred[Any]:
    return serving.ask(PutChunk, digest=ref.digest, size=ref.size, offset=offset, data=data)


def test_a_folder_is_served() -> None:
    serving = Serving(Folder())
    haves = [value_of(put(serving, n, chunk(n)))["have"] for n in range(0, REF.size, CHUNK_SIZE)]
    assert haves == [False] * 9 + [True]
    assert value_of(put(serving, 0, chunk(0)))["have"]
    got = value_of(serving.ask(GetChunk, digest=REF.digest, offset=CHUNK_SIZE))["data"]
    assert got == chunk(CHUNK_SIZE)


@pytest.mark.parametrize("offset", [-1, 1, REF.size, 2**70])
def test_a_chunk_that_does_not_fit_is_refused(offset: int) -> None:
    folder = Folder()
    error = error_of(put(Serving(folder), offset, chunk(0)))
    assert error.errorCode == b"MALFORMED"
    assert folder.writes == []


@pytest.mark.parametrize("ref", [BlobRef(b"short", 3), BlobRef(REF.digest, -1)])
def test_a_reference_that_is_none_is_refused(ref: BlobRef) -> None:
    assert error_of(put(Serving(Folder()), 0, b"abc", ref)).errorCode == b"MALFORMED"


def test_what_a_peer_may_not_read_does_not_exist_for_it() -> None:
    class Closed(Serving):
        def may_get(self, digest: bytes) -> bool:
            return False

    folder = Folder()
    folder.whole[REF.digest] = BYTES
    error = error_of(Closed(folder).ask(GetChunk, digest=REF.digest, offset=0))
    assert error.errorCode == b"NO_SUCH_BLOB"


def test_an_offset_below_the_start_is_no_place() -> None:
    folder = Folder()
    folder.whole[REF.digest] = BYTES
    error = error_of(Serving(folder).ask(GetChunk, digest=REF.digest, offset=-1))
    assert error.errorCode == b"NO_SUCH_BLOB"


def test_what_is_in_doubt_is_verified_before_it_is_served() -> None:
    doubts: list[bytes] = []

    class Doubted(Folder):
        def doubt(self, digest: bytes) -> None:
            doubts.append(digest)

        def read(self, digest: bytes, offset: int, size: int) -> Deferred[bytes]:
            return fail(Damaged("it is"))

    serving = Serving(Doubted())
    error = error_of(serving.ask(GetChunk, digest=REF.digest, offset=0, again=True))
    assert error.errorCode == b"DAMAGED"
    assert doubts == [REF.digest]
