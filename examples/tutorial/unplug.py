"""Chapter 12. Pull the plug: a worker dies, the coordinator dies, and the pictures hang."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from ampacity import Job, Pool
from mailroom import render
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import deferLater, react

AMPACITY = Path(sys.executable).with_name("ampacity")


class Machine:
    """A process that stands for a machine: a coordinator, or a worker."""

    def __init__(self, folder: Path, name: str, *words: str) -> None:
        self.words = [str(AMPACITY), *words]
        self.environ = {
            **os.environ,
            "AMPACITY_ACCESS": str(folder / "access"),
            "AMPACITY_STATE": str(folder / name),
        }
        self.log = folder / f"{name}.log"
        self.start()

    def start(self) -> None:
        with self.log.open("a") as log:
            self.process = subprocess.Popen(
                self.words, env=self.environ, stdout=log, stderr=subprocess.STDOUT
            )

    def pull_the_plug(self) -> None:
        """Not even a good-bye: SIGKILL cannot be caught."""
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait()


def draw_twice_perhaps(message: str, folder: str) -> int:
    """A picture that takes a while. It writes a line into the book first, and hangs up the picture
    at the end: the two ways to leave something behind."""
    with Path(folder, "book").open("a") as book:
        book.write(f"{message}\n")
    began = time.monotonic()
    while time.monotonic() < began + 2:
        picture = render(message)
    unfinished = Path(folder, f"{message}.{os.getpid()}")
    unfinished.write_bytes(picture)
    unfinished.rename(Path(folder, f"{message}.png"))
    return len(picture)


async def running_on(reactor: Any, jobs: list[Job[int]], worker: str) -> Job[int]:
    """The job that this worker runs, once there is one."""
    while True:
        for job in jobs:
            info = await job.info()
            if info.state == "running" and info.worker == worker:
                return job
        await deferLater(reactor, 0.05)


async def day(
    reactor: Any, pool: Pool, folder: Path, coordinator: Machine, worker: Machine
) -> None:
    began = time.monotonic()
    messages = ["ada", "grace", "edsger", "barbara"]
    jobs = [pool.submit(draw_twice_perhaps, message, str(folder)) for message in messages]

    struck = await running_on(reactor, jobs, "one")
    worker.pull_the_plug()
    print("worker one is gone, in the middle of a picture")

    await running_on(reactor, [struck], "two")
    print("worker two has begun that picture anew")
    coordinator.pull_the_plug()
    print("the coordinator is gone, while two draws")
    coordinator.start()
    print("and is started again, over the same store")

    sizes = await gatherResults([job.result() for job in jobs])
    for message, size in zip(messages, sizes, strict=True):
        print(f"{message}: a picture of {size} bytes")
    for _, what in (await struck.info()).story:
        if "attempt" in what:
            print("the story of the one that was struck:", what)
    begun = (folder / "book").read_text().splitlines()
    print(f"{len(messages)} pictures hang, and the book says {len(begun)}")
    print(f"all done in {time.monotonic() - began:.2f} s")
    await pool.close()


async def main(reactor: Any) -> None:
    with tempfile.TemporaryDirectory(prefix="unplug") as place:
        folder = Path(place)
        coordinator = Machine(folder, "coordinator", "coordinator")
        address = f"unix:{await socket_of(reactor, folder)}"
        one = Machine(folder, "one", "join", address, "--name", "one", "--slots", "1")
        two = Machine(folder, "two", "join", address, "--name", "two", "--slots", "1")
        try:
            await day(reactor, Pool.connect(address), folder, coordinator, one)
        finally:
            for machine in (one, two, coordinator):
                machine.stop()


async def socket_of(reactor: Any, folder: Path) -> Path:
    """Where the coordinator is found, once it is there."""
    socket = folder / "access" / "coordinator.socket"
    while not socket.exists():
        await deferLater(reactor, 0.05)
    return socket


if __name__ == "__main__":
    react(lambda reactor: Deferred.fromCoroutine(main(reactor)))
