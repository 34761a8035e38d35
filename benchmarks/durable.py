"""The durable store: commits, syncs, and how long a client waits until its jobs are accepted.

Without workers, a client sends frames of one job, one after the other, and then full frames, as
many at once as the protocol allows. Accepted means on disk; beside it, the same in memory. The
syncs are counted by ``strace``, in a run of their own, where that is installed and allowed.
"""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from .kit import fresh, gauges
from .kit.cluster import Cluster
from .kit.measured import Measured
from .kit.plan import Plan
from .kit.program import main, say
from .kit.spread import percentile, together
from .ways import DURABLE, UNIX

SINGLES = 500
JOBS = 50_000
ROUNDS = 3
SYNCS = ("fdatasync", "fsync", "sync_file_range", "msync")


def measure(plan: Plan) -> Measured:
    measured = Measured("durable", "The durable store")
    for way, durable in ((DURABLE, True), (UNIX, False)):
        with Cluster(plan, durable=durable, slots=0) as cluster:
            runs = [_run(cluster, plan) for _ in range(min(plan.times, ROUNDS))]
        say(f"{way:32}{runs[-1]['rate']:12,.0f} jobs accepted/s")
        _note(measured, way, runs)
    _note_syncs(measured, plan)
    return measured


def _run(cluster: Cluster, plan: Plan) -> dict[str, Any]:
    told = gauges.told(cluster.gauges)
    singles, jobs = plan.few(SINGLES, 20), plan.few(JOBS, 2000)
    return fresh.run("programs.accepted", cluster.address, told, singles, jobs)


def _note(measured: Measured, way: str, runs: list[dict[str, Any]]) -> None:
    for name, part in (("p50", 0.5), ("p99", 0.99)):
        found = [percentile(run["singles"], part) for run in runs]
        measured.add(f"one job accepted, {name}", way, "s", found)
    for name, part in (("p50", 0.5), ("p99", 0.99)):
        found = [percentile(run["frames"], part) for run in runs]
        measured.add(f"a frame of 64 accepted, 16 at once, {name}", way, "s", found)
    measured.add("accepted", way, "jobs/s", [run["rate"] for run in runs], "more")
    measured.add("coordinator's CPU a job accepted", way, "s", [run["cpu"] for run in runs])
    if way == DURABLE:
        single = [run["commits"]["singles"] for run in runs]
        measured.add("jobs a commit", "one at a time", "", single, "more")
        measured.add("jobs a commit", "full frames", "", [run["commits"]["frames"] for run in runs])
        measured.add("commits", "full frames", "a second", [run["commits"]["rate"] for run in runs])
    lag = together(run["lag"] for run in runs)
    measured.curve("lag", f"coordinator, accepting, {way}", ("lag, s", "ticks"), lag)


def _note_syncs(measured: Measured, plan: Plan) -> None:
    """Syncs a commit, with the process traced; slower, and so not timed."""
    if shutil.which("strace") is None:
        measured.notes.append("Syncs were not counted: strace is not installed.")
        return
    with Cluster(plan, durable=True, slots=0) as cluster, tempfile.TemporaryDirectory() as folder:
        table = Path(folder) / "syncs"
        command = ["strace", "-f", "-c", "-e", f"trace={','.join(SYNCS)}", "-o", str(table)]
        pid = str(cluster.pids["coordinator"])
        tracing = subprocess.Popen([*command, "-p", pid], stderr=subprocess.DEVNULL)
        time.sleep(0.5)  # until it has attached itself, or was not allowed to
        if tracing.poll() is not None:
            measured.notes.append("Syncs were not counted: strace may not trace here.")
            return
        told = gauges.told(cluster.gauges)
        found = fresh.run("programs.accepted", cluster.address, told, 100, plan.few(20_000, 2000))
        tracing.send_signal(signal.SIGINT)
        tracing.wait(30)
        syncs = counted(table.read_text())
    measured.add("syncs a commit", DURABLE, "", [syncs / max(1, found["commits"]["all"])])


def counted(table: str) -> int:
    """The calls in the table that ``strace -c`` prints."""
    found = re.findall(
        rf"^\s*[\d.]+\s+[\d.]+\s+\d+\s+(\d+)\s.*?(?:{'|'.join(SYNCS)})$", table, re.M
    )
    return sum(map(int, found))


if __name__ == "__main__":
    main(measure, __doc__)
