"""The benchmarks run: the quickest of them, with numbers so small that they mean nothing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from ampacity.benchmarks.kit import fresh, gauges
from ampacity.benchmarks.kit.cluster import Cluster
from ampacity.benchmarks.kit.plan import Plan
from ampacity.benchmarks.kit.results import read
from ampacity.benchmarks.registry import ALL

SECONDS = 100


def bench(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "ampacity.benchmarks", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)


def test_a_measurement_is_printed_and_written(tmp_path: Path) -> None:
    file = tmp_path / "found.json"
    done = bench("--quick", "--only", "core", "--json", str(file))
    assert done.returncode == 0, done.stderr
    assert "CPU a job" in done.stdout
    results = read(file)
    figure = results.measured["core"].figure("CPU a job", "1 worker")
    assert figure is not None
    assert 0 < figure.median < 1e-2
    assert results.machine["processors"] >= 1
    assert results.versions["ampacity"]


def test_the_measurements_are_listed() -> None:
    done = bench("--list")
    assert [line.split()[0] for line in done.stdout.splitlines()] == list(ALL)


def test_a_measurement_that_there_is_not_is_refused() -> None:
    done = bench("--only", "nothing")
    assert done.returncode == 1
    assert "there is no nothing; there are: floors," in done.stderr


def test_a_cluster_is_measured_from_within() -> None:
    """Rates, the CPU of each process, and the lag of the loops, over real processes."""
    with Cluster(Plan(quick=True)) as cluster:
        told = gauges.told(cluster.gauges)
        found = fresh.run("programs.client", cluster.address, told, 200, 3, seconds=SECONDS)
        folder = cluster.folder
    assert found["rate"] > 0
    assert len(found["singles"]) == 3
    assert set(found["cpu"]) == {"client", "coordinator", "agent", "children"}
    assert set(found["lag"]) == {"coordinator", "agent"}
    assert not folder.exists()


def test_a_program_that_fails_says_why() -> None:
    with pytest.raises(fresh.Failed, match="client ended with 1"):
        fresh.run("programs.client", "unix:/nowhere/at/all", "{}", 1, 1, seconds=SECONDS)


def test_a_program_that_takes_too_long_is_ended_with_what_it_started(tmp_path: Path) -> None:
    """What is left of it would fail this test."""
    environ = {"TMPDIR": str(tmp_path)}
    with pytest.raises(fresh.Failed, match="took longer"):
        fresh.run("programs.relay", "client", 1, 10_000_000, 0, seconds=5, **environ)
