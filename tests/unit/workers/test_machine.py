"""What is known of this machine."""

from __future__ import annotations

import os

from ampacity.workers import machine


def test_the_identity_stays():
    assert machine.identity() == machine.identity()
    assert "/" in machine.identity()


def test_processors_by_affinity_and_quota(tmp_path):
    assert 1 <= machine.usable_cpus() <= (os.cpu_count() or 1)
    (tmp_path / "cpu.max").write_text("50000 100000\n")
    assert machine.cpu_quota(tmp_path) == 0.5
    assert machine.usable_cpus(tmp_path) == 1
    (tmp_path / "cpu.max").write_text("max 100000\n")
    assert machine.cpu_quota(tmp_path) is None


def test_quota_of_the_first_version(tmp_path):
    folder = tmp_path / "cpu"
    folder.mkdir()
    (folder / "cpu.cfs_quota_us").write_text("150000\n")
    (folder / "cpu.cfs_period_us").write_text("100000\n")
    assert machine.cpu_quota(tmp_path) == 1.5
    (folder / "cpu.cfs_quota_us").write_text("-1\n")
    assert machine.cpu_quota(tmp_path) is None


def test_memory():
    assert machine.peak_memory(os.getpid()) > 1024**2
    assert machine.peak_memory(2**22 + 1) == 0


def test_memory_kills(tmp_path):
    (tmp_path / "memory.events").write_text("low 0\noom 2\noom_kill 3\n")
    assert machine.out_of_memory_kills(tmp_path) == 3


def test_kills_for_memory_are_counted_in_either_version_of_control_groups(tmp_path):
    table = tmp_path / "table"
    old = tmp_path / "one" / "memory" / "box"
    old.mkdir(parents=True)
    table.write_text("4:memory:/box\n1:cpu:/other\n")
    assert machine.out_of_memory_kills(tmp_path / "one", table) == 0
    (old / "memory.oom_control").write_text("oom_kill_disable 0\nunder_oom 0\noom_kill 3\n")
    assert machine.out_of_memory_kills(tmp_path / "one", table) == 3
    new = tmp_path / "two" / "box"
    new.mkdir(parents=True)
    table.write_text("0::/box\n")
    (new / "memory.events").write_text("low 0\nhigh 0\nmax 9\noom 1\noom_kill 1\n")
    assert machine.out_of_memory_kills(tmp_path / "two", table) == 1
