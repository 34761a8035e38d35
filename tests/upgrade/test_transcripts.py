"""Peers of earlier releases, played from recordings to the coordinator of today.

A coordinator speaks the protocol of the release before: it is upgraded first, the workers one by
one after it. Every box that the recorded client and worker have said is said again, in the
recorded order; each answer must come, be none of an error, and have what the earlier release read
of it. What the coordinator asks of them must be something that they know.
"""

from __future__ import annotations

import json
from base64 import b64decode
from collections import deque
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from ampacity.client.local import LocalCluster
from ampacity.coordinator.credentials import Credentials
from ampacity.coordinator.service import CoordinatorService
from ampacity.protocol.access import AccessFolder, StateFolder
from ampacity.protocol.boxes import BoxReader
from ampacity.protocol.limits import BOX_BYTES
from ampacity.protocol.outcomes import Ending, unpack_deliveries
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import UNIXClientEndpoint, connectProtocol
from twisted.internet.protocol import Protocol
from twisted.protocols.amp import AmpBox

TRANSCRIPTS = sorted((Path(__file__).parent / "transcripts").glob("*.jsonl"))
SECONDS = 20.0

Box = dict[bytes, bytes]


def lines_of(path: Path) -> list[tuple[str, Box]]:
    said = [json.loads(line) for line in path.read_text().splitlines()]
    return [
        (line["who"], {key.encode(): b64decode(value) for key, value in line["box"].items()})
        for line in said
    ]


class Played(Protocol):
    """A peer of then: says what it is told to say, and keeps what it hears."""

    def __init__(self) -> None:
        self._reader = BoxReader(BOX_BYTES)
        self.answers: dict[bytes, Box] = {}
        self.asked: dict[bytes, deque[Box]] = {}
        self.tags: dict[bytes, bytes] = {}
        """The coordinator's tags of today by those of then."""
        self._waiting: Deferred[None] | None = None

    def dataReceived(self, data: bytes) -> None:
        for box, _size in self._reader.read(data):
            tag = box.get(b"_answer") or box.get(b"_error")
            if tag is not None:
                self.answers[tag] = box
            else:
                self.asked.setdefault(box[b"_command"], deque()).append(box)
        if self._waiting is not None:
            waiting, self._waiting = self._waiting, None
            waiting.callback(None)

    def say(self, box: Box) -> None:
        told = dict(box)
        if b"_answer" in told:
            told[b"_answer"] = self.tags[told[b"_answer"]]
        assert self.transport is not None
        self.transport.write(AmpBox(told).serialize())

    async def hear(self, box: Box) -> None:
        """Wait for what the recorded coordinator has said here."""
        tag = box.get(b"_answer") or box.get(b"_error")
        heard = await self._until(lambda: self._take(tag, box))
        assert (b"_error" in heard) == (b"_error" in box), f"{heard} instead of {box}"
        assert heard.keys() >= box.keys(), f"{box.keys() - heard.keys()} is missing in {heard}"
        if tag is None and b"_ask" in box:
            self.tags[box[b"_ask"]] = heard[b"_ask"]

    def _take(self, tag: bytes | None, box: Box) -> Box | None:
        if tag is not None:
            return self.answers.pop(tag, None)
        asked = self.asked.get(box[b"_command"])
        return asked.popleft() if asked else None

    async def _until(self, take: Any) -> Box:
        while (found := take()) is None:
            self._waiting = Deferred()
            self._waiting.addTimeout(SECONDS, reactor)
            await self._waiting
        box: Box = found
        return box


@pytest_twisted.async_yield_fixture(params=["memory", "disk"])
async def socket(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Path]:
    """A coordinator of today, new, so that its ids are those of then."""
    store = tmp_path / "store" if request.param == "disk" else None
    cluster = LocalCluster(reactor, slots=0, store=store)
    await cluster.open()
    access, state = AccessFolder(tmp_path / "access"), StateFolder(tmp_path / "state")
    service = CoordinatorService(reactor, cluster.driver, access, Credentials(state))
    service.startService()
    await service.ready
    yield access.socket
    await service.stopService()
    await cluster.stop()


def test_there_is_something_to_play() -> None:
    assert TRANSCRIPTS


@pytest.mark.parametrize("transcript", TRANSCRIPTS, ids=lambda path: path.stem)
@pytest_twisted.ensureDeferred
async def test_a_coordinator_speaks_with_peers_of_an_earlier_release(
    transcript: Path, socket: Path
) -> None:
    peers: dict[str, Played] = {}
    endings: list[Ending] = []
    for who, box in lines_of(transcript):
        peer = who.removeprefix("to ")
        if peer not in peers:
            endpoint = UNIXClientEndpoint(reactor, str(socket))
            peers[peer] = await connectProtocol(endpoint, Played())
        if who == peer:
            peers[peer].say(box)
        else:
            await peers[peer].hear(box)
        if who == "to client" and box.get(b"_command") == b"Delivered":
            endings.extend(one.ending for one in unpack_deliveries(box[b"outcomes"]))
    unknown = {
        command
        for played in peers.values()
        for command, asked in played.asked.items()
        if asked and command != b"Ping"
    }
    assert not unknown, f"asked of peers that do not expect it: {unknown}"
    assert {Ending.SUCCEEDED, Ending.FAILED, Ending.CANCELLED} <= set(endings)
    for played in peers.values():
        assert played.transport is not None
        played.transport.loseConnection()
