"""Every measurement by its name, in the order in which they are made."""

from __future__ import annotations

from typing import Final

OURS: Final = {
    "floors": "syncs, one-row commits, bandwidth between processes, empty loops",
    "bulk": "no-op jobs in bulk and one at a time, CPU a job in each process",
    "latency": "p50, p99 and p99.9, idle and at half load",
    "metg": "efficiency against the duration of jobs, METG(50%)",
    "workers": "the coordinator against 1 to 2,000 simulated workers",
    "million": "memory a queued job, the loops' lag while a million jobs come and go",
    "transfer": "values from 1 kB to 1 GiB, each way",
    "durable": "commits, syncs, and the time until a job is accepted",
    "startup": "a cold pool's first results",
    "core": "scheduler and driver by themselves",
    "floors_again": "the floors once more, to see whether the machine was the same",
}
"""What ``make bench`` measures; each is a module of that name."""

PEERS: Final = {
    "peers_bulk": "rates of the peers and of ampacity, in bulk and one at a time",
    "peers_metg": "their METG(50%)",
    "peers_values": "an array there and back, one for many jobs, C code without the lock",
}
"""What ``make bench-peers`` measures."""

ALL: Final = {**OURS, **PEERS}
