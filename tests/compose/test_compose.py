"""The cluster of docker-compose.yml, for real: its containers die, and what was accepted ends."""

from __future__ import annotations

import json
import pickle
import subprocess
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import chain, islice
from pathlib import Path
from typing import Any, TypeVar

import ampacity
import attrs
import pytest

T = TypeVar("T")

ROOT = Path(ampacity.__file__).parent
BELOW = 220_000
PRIMES = 19_618
"""Below 220,000."""
JOBS = 40
NOTED = 20
"""Jobs a slot that leave notes, of NOTED_SECONDS each: 8 s of work, however many slots."""
NOTED_SECONDS = "0.4"
LARGE = 3_000_000
"""Bytes of a result that is kept as a file."""
FOLDER = ("--cwd", "/work/tests/compose")
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
class Picture:
    """What the coordinator says of itself, and of the workers that are connected."""

    status: dict[str, Any]
    workers: list[dict[str, Any]]

    def lives(self) -> set[tuple[str, int]]:
        """Each worker with its process."""
        return {(worker["name"], worker["pid"]) for worker in self.workers}

    def numbers(self) -> list[str]:
        """The arguments of jobs that leave notes, for all of these workers."""
        return [str(number) for number in range(NOTED * sum(w["slots"] for w in self.workers))]


@attrs.frozen
class Cluster:
    compose: list[str]

    def do(self, *words: str) -> str:
        return run(*self.compose, *words)

    def client(self, *words: str) -> list[str]:
        """The words that run the client."""
        return [*self.compose, "run", "--rm", "-T", "client", *words]

    def ask(self, *words: str) -> list[dict[str, Any]]:
        """What a client prints, as JSON."""
        name, *rest = words
        return records(run(*self.client(name, "--json", *rest)).splitlines())

    def containers(self, service: str = "") -> list[str]:
        return self.do("ps", "-q", *filter(None, [service])).split()

    @property
    def coordinator(self) -> str:
        (container,) = self.containers("coordinator")
        return container

    def is_up(self) -> bool:
        return answers("docker", "exec", self.coordinator, "ampacity", "workers")

    def picture(self) -> Picture:
        words = ("docker", "exec", self.coordinator, "ampacity", "top", "--once", "--json")
        (found,) = records(run(*words).splitlines())
        connected = [worker for worker in found["workers"] if worker["state"] == "connected"]
        return Picture(found["status"], connected)

    def notes(self, file: str) -> Counter[str]:
        """What jobs have noted in a file of their workers' containers."""
        words = ("sh", "-c", f"cat {file} 2>/dev/null || true")
        found = [run("docker", "exec", worker, *words) for worker in self.containers("worker")]
        return Counter("".join(found).splitlines())

    @contextmanager
    def mapping(self, *words: str) -> Iterator[Iterator[str]]:
        """The lines of a ``map`` of a function in this folder, which must end with 0."""
        line = self.client("map", "--json", *FOLDER, *words)
        with subprocess.Popen(line, cwd=ROOT, stdout=subprocess.PIPE, text=True) as mapping:
            assert mapping.stdout is not None
            yield iter(mapping.stdout)
        assert mapping.returncode == 0


def records(lines: Iterable[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in lines if line.startswith("{")]


def until(look: Callable[[], T], enough: Callable[[T], bool], cluster: Cluster) -> T:
    """What is seen when it is enough."""
    deadline = time.monotonic() + START_SECONDS
    while not enough(seen := look()):
        assert time.monotonic() < deadline, cluster.do("logs", "--no-color")
        time.sleep(0.2)
    return seen


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


def with_workers(cluster: Cluster, count: int) -> Picture:
    return until(cluster.picture, lambda picture: len(picture.workers) >= count, cluster)


def test_who_runs_in_the_containers(cluster: Cluster) -> None:
    """Not root, with a read-only folder, and no token in what `docker inspect` shows."""
    printed = run(*cluster.client("run", "--", "sh", "-c", "id -u; touch /work/x; echo $?"))
    assert printed.split() == ["8786", "1"]
    shown = run("docker", "inspect", *cluster.containers())
    assert "amp1." not in shown


def test_the_coordinator_is_healthy(cluster: Cluster) -> None:
    format_ = "{{.State.Health.Status}} {{.Config.User}}"
    shown = run("docker", "inspect", "-f", format_, cluster.coordinator)
    assert shown.split() == ["healthy", "ampacity"]


def all_ended(notes: Counter[str]) -> bool:
    """Whether every job that has begun has ended."""
    kinds = Counter(note.split()[0] for note in notes.elements())
    return kinds["began"] == kinds["ended"]


def once(numbers: Iterable[str]) -> Counter[str]:
    """The notes where each job has run once."""
    return Counter(f"{word} {number}" for number in numbers for word in ("began", "ended"))


def test_the_coordinator_goes_on_where_it_was(cluster: Cluster) -> None:
    """Its client and its workers come back to it, and what ran meanwhile is believed."""
    before, notes = with_workers(cluster, 2), "/tmp/struck"
    numbers = before.numbers()
    count = len(numbers)
    with cluster.mapping("heavy:note", notes, NOTED_SECONDS, ":::", *numbers) as lines:
        first = list(islice(lines, count // 8))
        run("docker", "kill", cluster.coordinator)
        until(lambda: cluster.notes(notes), all_ended, cluster)  # the workers go on without it
        cluster.do("start", "coordinator")
        until(cluster.is_up, bool, cluster)
        cluster.do("restart", "coordinator")
        outcomes = records(chain(first, lines))
    assert [(o["index"], o["value"]) for o in outcomes] == [(i, i * i) for i in range(count)]
    assert cluster.notes(notes) == once(numbers)
    after = with_workers(cluster, 2)
    assert after.lives() == before.lives()
    assert after.status["store"] == before.status["store"]
    assert after.status["term"] == before.status["term"] + 2
    assert after.status["kept"] == before.status["kept"] + count
    assert [after.status[state] for state in ("queued", "sent", "running")] == [0, 0, 0]
    ids = {outcome["id"] for outcome in outcomes}
    jobs = [job for job in cluster.ask("jobs", "--all") if job["id"] in ids]
    # what the stopping one had assigned and not told yet is assigned again; the notes prove that
    # nothing ran twice
    assert [job["losses"] for job in jobs] == [0] * count
    assert max(job["began"] for job in jobs) > after.status["started"]  # both in the middle


def test_the_engine_starts_a_coordinator_again_that_died(cluster: Cluster) -> None:
    """As for want of memory; docker-compose.yml asks for it."""
    before = with_workers(cluster, 2)
    run("docker", "exec", cluster.coordinator, "sh", "-c", "kill -9 -1")
    until(cluster.is_up, bool, cluster)
    after = with_workers(cluster, 2)
    assert after.status["term"] == before.status["term"] + 1
    assert after.lives() == before.lives()


def test_what_is_kept_outlives_the_container(cluster: Cluster) -> None:
    """Jobs that wait, and a result that nobody has fetched, are on the volume alone."""
    numbers, notes = with_workers(cluster, 2).numbers(), "/tmp/replaced"
    (large,) = cluster.ask("submit", *FOLDER, "heavy:filler", str(LARGE))
    cluster.ask("wait", str(large["id"]))
    work = (*FOLDER, "heavy:note", notes, NOTED_SECONDS, ":::", *numbers)
    (group,) = cluster.ask("map", "--detach", *work)
    cluster.do("rm", "--stop", "--force", "coordinator")
    cluster.do("up", "-d", "--no-deps", "coordinator")
    values = [record["value"] for record in cluster.ask("result", group["group"])]
    assert values == [int(number) ** 2 for number in numbers]
    assert cluster.notes(notes) == once(numbers)
    raw = subprocess.check_output(cluster.client("result", "--raw", str(large["id"])), cwd=ROOT)
    assert pickle.loads(raw) == "x" * LARGE


def test_results_arrive_though_a_worker_is_killed(cluster: Cluster) -> None:
    with_workers(cluster, 2)
    with cluster.mapping("heavy:count_primes", ":::", *[str(BELOW)] * JOBS) as lines:
        first = list(islice(lines, 5))
        run("docker", "kill", cluster.containers("worker")[0])
        outcomes = records(chain(first, lines))
    assert [(o["index"], o["value"]) for o in outcomes] == [(i, PRIMES) for i in range(JOBS)]
    (survivor,) = cluster.picture().workers
    assert survivor["finished"] > 0
