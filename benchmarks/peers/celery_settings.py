"""How the worker's process and the client's are told of Redis before they load the application."""

from __future__ import annotations

REDIS = "AMPACITY_BENCH_REDIS"
TUNED = "AMPACITY_BENCH_TUNED"


def environ(path: str, tuned: bool) -> dict[str, str]:
    return {REDIS: path, TUNED: "1" if tuned else ""}
