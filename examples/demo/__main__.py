"""The main job, end to end: a cluster on this machine compresses Python's standard library.

A coordinator and two workers are started as processes of their own, joined over TCP with TLS and
a token; every job compresses one source file with LZMA at its highest preset. At the end: what it
took, whether the results are right, and whether anything was left behind.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from .cluster import Broken, Cluster
from .compressing import compress

JOBS = 800
SAMPLE_STEP = 10
WORKERS = ("east", "west")


class Alone(NamedTuple):
    """What one process does without ampacity, for comparison: every tenth file."""

    seconds: float
    results: dict[str, Any]


class Together(NamedTuple):
    """What the cluster did."""

    seconds: float
    outcomes: list[dict[str, Any]]
    lag: dict[str, Any]
    """The coordinator's, the worst that was seen while every slot was busy."""
    workers: list[dict[str, Any]]


def source_files() -> list[str]:
    """Up to ``JOBS`` source files of the standard library, evenly taken from all of them."""
    library = Path(sysconfig.get_path("stdlib"))
    paths = sorted(p for p in library.rglob("*.py") if "site-packages" not in p.parts)
    step = max(1, len(paths) / JOBS)
    return [str(paths[int(place * step)]) for place in range(min(JOBS, len(paths)))]


def run_alone(paths: Sequence[str]) -> Alone:
    started = time.monotonic()
    results = {path: compress(path) for path in paths}
    return Alone(time.monotonic() - started, results)


def run_together(cluster: Cluster, paths: Iterable[str], slots: int) -> Together:
    """Start everything, map the job over the files, and look at the cluster while it is busy."""
    cluster.start_coordinator()
    for name in WORKERS:
        cluster.start_worker(name, slots)
    cluster.wait_for_workers(len(WORKERS))
    with cluster.watch() as pictures:
        started = time.monotonic()
        outcomes = map_over(cluster, paths)
        seconds = time.monotonic() - started
    return Together(seconds, outcomes, worst_lag(pictures), cluster.ask("workers"))


def worst_lag(pictures: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Of the pictures with all slots busy, the coordinator's highest 99th percentile."""
    statuses = [picture["status"] for picture in pictures]
    busy = [status["lag"] for status in statuses if status["busy"] == status["slots"]]
    if not busy:
        raise Broken(f"of {len(pictures)} looks at the cluster none saw it busy")
    return max(busy, key=lambda lag: lag["p99"])


def map_over(cluster: Cluster, paths: Iterable[str]) -> list[dict[str, Any]]:
    with tempfile.TemporaryFile("w+") as given:
        given.writelines(f"{path}\n" for path in paths)
        given.seek(0)
        mapping = cluster.client(
            *("map", "--json", "--progress", "compressing:compress"),
            stdin=given,
            stdout=subprocess.PIPE,
            cwd=Path(__file__).parent,
        )
        assert mapping.stdout is not None
        outcomes = [json.loads(line) for line in mapping.stdout]
    if mapping.wait():
        raise Broken(f"ampacity map ended with {mapping.returncode}")
    return outcomes


def table(alone: Alone, together: Together, jobs: int) -> list[tuple[str, str]]:
    """What people want to know, as rows."""
    one_process = alone.seconds * jobs / len(alone.results)
    failures = sum(outcome["outcome"] != "succeeded" for outcome in together.outcomes)
    lag = together.lag
    shares = ", ".join(f"{worker['name']} {worker['finished']}" for worker in together.workers)
    return [
        ("jobs", str(len(together.outcomes))),
        ("failures", str(failures)),
        ("wall time", f"{together.seconds:.1f} s"),
        (
            "one process",
            f"{one_process:.1f} s, extrapolated from {len(alone.results)} of the files",
        ),
        ("speed-up", f"{one_process / together.seconds:.2f} × on {os.cpu_count()} processors"),
        ("jobs per worker", shares),
        ("coordinator's loop lag", f"p99 {lag['p99'] * 1000:.1f} ms, with every slot busy"),
    ]


def check(alone: Alone, together: Together, paths: Sequence[str]) -> None:
    """Every job succeeded, in order, and the sample's results are what one process found.

    Raises:
        Broken: anything is off.
    """
    outcomes = together.outcomes
    if [outcome["item"] for outcome in outcomes] != list(paths):
        raise Broken(f"{len(outcomes)} outcomes for {len(paths)} items, or in another order")
    bad = [outcome for outcome in outcomes if outcome["outcome"] != "succeeded"]
    if bad:
        raise Broken(f"{len(bad)} jobs failed, the first: {bad[0]}")
    values = {outcome["item"]: outcome["value"] for outcome in outcomes}
    for path, expected in alone.results.items():
        if values[path] != expected:
            raise Broken(f"{path}: {values[path]} is not {expected}")
    idle = [worker["name"] for worker in together.workers if not worker["finished"]]
    if idle:
        raise Broken(f"{', '.join(idle)} did nothing")


def demonstrate(folder: Path) -> None:
    paths = source_files()
    slots = max(1, (os.cpu_count() or 2) // len(WORKERS))
    print(f"{len(paths)} source files; first, every {SAMPLE_STEP}th of them in one process …")
    alone = run_alone(paths[::SAMPLE_STEP])
    print(f"{len(WORKERS)} workers with {slots} slot(s) each, over TLS on the loopback interface …")
    cluster = Cluster(folder)
    try:
        with cluster:
            together = run_together(cluster, paths, slots)
    finally:
        left = cluster.end_leftovers()
    for name, value in table(alone, together, len(paths)):
        print(f"  {name:24}{value}")
    check(alone, together, paths)
    if left:
        raise Broken("processes were left behind: " + "; ".join(left))
    print(f"the results of {len(alone.results)} files are right; no process is left behind")


def main() -> int:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with tempfile.TemporaryDirectory(prefix="ampacity-") as folder:
        try:
            demonstrate(Path(folder))
        except Broken as e:
            print(f"the demo failed: {e}", file=sys.stderr)
            for log in sorted(Path(folder).glob("*.log")):
                print(f"--- {log.name}\n{log.read_text()[-4000:]}", file=sys.stderr)
            return 1
        except KeyboardInterrupt:
            print("interrupted; everything is stopped", file=sys.stderr)
            return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
