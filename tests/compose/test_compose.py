"""The cluster of docker-compose.yml, for real: it survives the death of a worker's container."""

from __future__ import annotations

import json
import subprocess
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ampacity
import attrs
import pytest

ROOT = Path(ampacity.__file__).parent
BELOW = 220_000
PRIMES = 19_618
"""Below 220,000."""
JOBS = 40
START_SECONDS = 120


def run(*words: str, seconds: float = 300) -> str:
    """What a command prints; it must end with 0."""
    done = subprocess.run(
        words, cwd=ROOT, capture_output=True, text=True, timeout=seconds, check=False
    )
    assert done.returncode == 0, f"{words}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def answers(*words: str) -> bool:
    try:
        return subprocess.run(words, capture_output=True, timeout=60, check=False).returncode == 0
    except OSError:
        return False


def compose_command() -> list[str]:
    """Of either generation; skips the test where there is no engine to run it on."""
    if not answers("docker", "info"):
        pytest.skip("no docker engine answers here (`docker info` fails)")
    for words in (["docker", "compose"], ["docker-compose"]):
        if answers(*words, "version"):
            return words
    pytest.skip("neither `docker compose` nor `docker-compose` is installed")


@attrs.frozen
class Cluster:
    compose: list[str]

    def do(self, *words: str) -> str:
        return run(*self.compose, *words)

    def client(self, *words: str) -> list[str]:
        """The words that run the client."""
        return [*self.compose, "run", "--rm", "-T", "client", *words]

    def workers(self) -> list[dict[str, Any]]:
        printed = run(*self.client("workers", "--json"))
        return [json.loads(line) for line in printed.splitlines() if line.startswith("{")]

    def containers(self, service: str = "") -> list[str]:
        return self.do("ps", "-q", *filter(None, [service])).split()


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """Two workers and a coordinator, all gone afterwards."""
    cluster = Cluster([*compose_command(), "-p", f"ampacity{uuid.uuid4().hex[:8]}"])
    try:
        cluster.do("up", "-d", "--build", "--scale", "worker=2")
        yield cluster
    finally:
        cluster.do("down", "-v", "--remove-orphans")
    assert cluster.containers() == []


def wait_for_workers(cluster: Cluster, count: int) -> None:
    deadline = time.monotonic() + START_SECONDS
    while len(cluster.workers()) < count:
        assert time.monotonic() < deadline, cluster.do("logs", "--no-color")
        time.sleep(1)


def test_who_runs_in_the_containers(cluster: Cluster) -> None:
    """Not root, with a read-only folder, and no token in what `docker inspect` shows."""
    printed = run(*cluster.client("run", "--", "sh", "-c", "id -u; touch /work/x; echo $?"))
    assert printed.split() == ["8786", "1"]
    shown = run("docker", "inspect", *cluster.containers())
    assert "amp1." not in shown


def test_the_coordinator_is_healthy(cluster: Cluster) -> None:
    (coordinator,) = cluster.containers("coordinator")
    format_ = "{{.State.Health.Status}} {{.Config.User}}"
    assert run("docker", "inspect", "-f", format_, coordinator).split() == ["healthy", "ampacity"]


def test_results_arrive_though_a_worker_is_killed(cluster: Cluster) -> None:
    wait_for_workers(cluster, 2)
    words = cluster.client(
        *("map", "--json", "--cwd", "/work/tests/compose", "heavy:count_primes", ":::"),
        *[str(BELOW)] * JOBS,
    )
    with subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, text=True) as mapping:
        assert mapping.stdout is not None
        lines = [mapping.stdout.readline() for _ in range(5)]
        victim = cluster.containers("worker")[0]
        run("docker", "kill", victim)
        lines += mapping.stdout.readlines()
    assert mapping.returncode == 0
    outcomes = [json.loads(line) for line in lines if line.startswith("{")]
    assert [(o["index"], o["value"]) for o in outcomes] == [(i, PRIMES) for i in range(JOBS)]
    (survivor,) = [worker for worker in cluster.workers() if worker["state"] == "connected"]
    assert survivor["finished"] > 0
