"""A worker on another host, as a network namespace, that is cut off for a while."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest
import pytest_twisted
from twisted.internet import threads


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


@attrs.frozen
class Host:
    """A network namespace, with a cable to this host."""

    name: str
    here: str
    """Our address on the cable."""

    @property
    def before(self) -> list[str]:
        """What makes a command run there."""
        return ["ip", "netns", "exec", self.name]

    def cut(self) -> None:
        ip("link", "set", f"{self.name}h", "down")

    def mend(self) -> None:
        ip("link", "set", f"{self.name}h", "up")


@pytest.fixture
def other_host() -> Iterator[Host]:
    """Needs root, and iproute2."""
    if os.geteuid() != 0 or shutil.which("ip") is None:
        pytest.skip("network namespaces need root and iproute2")
    number = os.getpid() % 16384
    net = f"10.213.{number // 64}.{number % 64 * 4}"
    host = Host(f"amp{number}", _plus(net, 1))
    try:
        ip("netns", "add", host.name)
        ip("link", "add", f"{host.name}h", "type", "veth", "peer", "name", f"{host.name}n")
        ip("link", "set", f"{host.name}n", "netns", host.name)
        ip("addr", "add", f"{host.here}/30", "dev", f"{host.name}h")
        inside = ("netns", "exec", host.name, "ip")
        ip(*inside, "addr", "add", f"{_plus(net, 2)}/30", "dev", f"{host.name}n")
        ip(*inside, "link", "set", f"{host.name}n", "up")
        ip(*inside, "link", "set", "lo", "up")
        host.mend()
    except subprocess.CalledProcessError as e:
        _remove(host)
        pytest.skip(f"no network namespaces here: {e.stderr.decode().strip()}")
    yield host
    _remove(host)


def _plus(net: str, count: int) -> str:
    first, _, last = net.rpartition(".")
    return f"{first}.{int(last) + count}"


def _remove(host: Host) -> None:
    for words in (["link", "del", f"{host.name}h"], ["netns", "del", host.name]):
        subprocess.run(["ip", *words], check=False, capture_output=True)


def note(folder: str, item: int, seconds: float) -> int:
    with (Path(folder) / str(item)).open("a") as file:
        file.write(f"{os.getppid()}\n")
    time.sleep(seconds)
    return item


@pytest_twisted.ensureDeferred
async def test_a_worker_that_is_cut_off_for_longer_than_its_lease(
    other_host: Host, cluster: Any, tmp_path: Path, until: Any
) -> None:
    notes = tmp_path / "notes"
    notes.mkdir()
    await cluster.start(f"tcp:{other_host.here}:0", lease=1.0, silence=6.0)
    far = await cluster.worker("far", before=other_host.before)
    pool = cluster.pool()
    group = pool.map(note, [str(notes)] * 36, range(36), [0.7] * 36)
    await until(lambda: any(notes.iterdir()))
    await threads.deferToThread(other_host.cut)
    await cluster.worker("near")
    await until(lambda: _given_up(cluster), seconds=40.0)
    await threads.deferToThread(other_host.mend)
    assert await group == list(range(36))
    joins = [line for line in far.log().splitlines() if "joined" in line]
    assert len(joins) == 2
    runs = [line for path in notes.iterdir() for line in path.read_text().splitlines()]
    assert 36 <= len(runs) <= 36 + 14  # what the far worker ran while nobody heard of it
    assert len(set(runs)) == 2


def _given_up(cluster: Any) -> bool:
    """Whether the coordinator has given the far worker up."""
    return "nothing was heard of it" in cluster.coordinator.log()
