"""Records what a client and a worker of one release say to their coordinator, box by box.

Run it with the release that is to be recorded, once, when that is published::

    python tests/upgrade/record.py tests/upgrade/transcripts/0.1.jsonl

Each line is one box: who said it (``client``, ``worker``, or ``to client``, ``to worker`` for the
coordinator), and its keys and values in base64. One thing is done at a time, so that the order is
always the same. ``test_transcripts.py`` plays it to the coordinator of today.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.endpoints import UNIXClientEndpoint, UNIXServerEndpoint
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.task import deferLater
from twisted.python.failure import Failure

AMPACITY = [sys.executable, "-c", "from ampacity.cli.entry import main; main()"]

CLIENT = """
import math, sys
from ampacity import JobFailed, Pool
from twisted.internet.task import deferLater, react

def by_value(x):
    print("printed", x)
    return x + 1

async def main(reactor):
    async with Pool.connect(sys.argv[1]) as pool:
        assert await pool.submit(math.sqrt, 16.0) == 4.0
        assert await pool.submit(by_value, 1) == 2
        assert await pool.options(name="named", key="once", timeout=60).submit(abs, -3) == 3
        assert await pool.options(key="once").submit(abs, -4) == 3
        assert len(await pool.submit(bytes, 40_000)) == 40_000
        assert await pool.submit(len, b"x" * 40_000) == 40_000
        try:
            await pool.submit(math.sqrt, -1.0)
        except ValueError:
            pass
        assert await pool.map(math.isqrt, [1, 4, 9]) == [1, 2, 3]
        job = pool.submit(__import__("time").sleep, 60)
        while job.id is None:
            await deferLater(reactor, 0.05)
        await deferLater(reactor, 1.0)
        job.cancel()
        try:
            await job
        except Exception as e:
            assert "ancel" in type(e).__name__, e

react(main)
"""


class Taker:
    """Takes boxes apart; those of one direction of one connection."""

    def __init__(self) -> None:
        self._data = b""

    def boxes(self, data: bytes) -> Iterator[dict[bytes, bytes]]:
        self._data += data
        while (found := self._one()) is not None:
            box, size = found
            self._data = self._data[size:]
            yield box

    def _one(self) -> tuple[dict[bytes, bytes], int] | None:
        data, at, parts = self._data, 0, list[bytes]()
        while len(data) - at >= 2:
            length = int.from_bytes(data[at : at + 2], "big")
            if length == 0 and len(parts) % 2 == 0:
                return dict(zip(parts[::2], parts[1::2], strict=True)), at + 2
            if len(data) < at + 2 + length:
                return None
            parts.append(data[at + 2 : at + 2 + length])
            at += 2 + length
        return None


class Tap(Protocol):
    """One side of a connection that is listened to."""

    def __init__(self, who: str, lines: list[str], other: Tap | None = None) -> None:
        self.other = other
        self._who = who
        self._lines = lines
        self._taker = Taker()
        self._early = b""

    def dataReceived(self, data: bytes) -> None:
        for box in self._taker.boxes(data):
            said = {key.decode(): b64encode(value).decode() for key, value in box.items()}
            self._lines.append(json.dumps({"who": self._who, "box": said}))
        if self.other is None or self.other.transport is None:
            self._early += data
        else:
            self.other.transport.write(data)

    def meet(self, other: Tap) -> None:
        self.other = other
        assert other.transport is not None
        other.transport.write(self._early)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self.other is not None and self.other.transport is not None:
            self.other.transport.loseConnection()


async def listen(path: Path, to: Path, who: str, lines: list[str]) -> None:
    """A socket that is the coordinator's, and remembers what goes through it."""

    class Front(Factory):
        noisy = False

        def buildProtocol(self, addr: Any) -> Tap:
            front = Tap(who, lines)
            back = Factory.forProtocol(lambda: Tap(f"to {who}", lines, front))
            back.noisy = False
            UNIXClientEndpoint(reactor, str(to)).connect(back).addCallback(front.meet)
            return front

    await UNIXServerEndpoint(reactor, str(path)).listen(Front())


@contextmanager
def running(command: list[str], **options: Any) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(command, **options)
    try:
        yield process
    finally:
        process.terminate()
        process.wait(30)


async def until(ready: Any, seconds: float = 30.0) -> None:
    end = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < end, "this took too long"
        await deferLater(reactor, 0.05)


async def record(folder: Path) -> list[str]:
    lines: list[str] = []
    environment = os.environ | {
        "AMPACITY_ACCESS": str(folder / "access"),
        "AMPACITY_STATE": str(folder / "state"),
    }
    quiet = {"env": environment, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    socket = folder / "access" / "coordinator.socket"
    taps = {who: folder / f"{who}.socket" for who in ("client", "worker")}
    with running([*AMPACITY, "coordinator"], **quiet):
        await until(socket.exists)
        for who, path in taps.items():
            await listen(path, socket, who, lines)
        worker = [*AMPACITY, "join", f"unix:{taps['worker']}", "--slots", "1", "--name", "w"]
        with running(worker, **quiet):
            await until(lambda: any('"Join"' in line or "Sm9pbg==" in line for line in lines))
            await deferLater(reactor, 1.5)
            script = folder / "client.py"
            script.write_text(CLIENT)
            with running(
                [sys.executable, str(script), f"unix:{taps['client']}"], env=environment
            ) as c:
                await until(lambda: c.poll() is not None, 60)
                assert c.returncode == 0
        await deferLater(reactor, 0.5)
    return lines


async def main() -> None:
    folder = tempfile.mkdtemp()  # its sockets are closed when the reactor stops
    lines = await record(Path(folder))
    Path(sys.argv[1]).write_text("\n".join(lines) + "\n")
    print(f"{len(lines)} boxes")


if __name__ == "__main__":
    done: Deferred[None] = ensureDeferred(main())
    done.addErrback(lambda failure: failure.printTraceback())
    done.addBoth(lambda _: reactor.stop())
    reactor.run()
