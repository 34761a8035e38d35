"""Every field that the command line prints as JSON is named in docs/reference/json.md."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
from ampacity.tests.docs import clusters, shown

PAGE = (shown.ROOT / "docs" / "reference" / "json.md").read_text()

LINES = (
    "run math:factorial 20",
    "run -- sh -c 'echo out; exit 3'",
    "submit --wait math:sqrt 2",
    "map math:sqrt ::: 1 -1",
    "result all",
    "logs all",
    "jobs",
    "job 2",
    "retry 2",
    "cancel all",
    "workers",
    "top --once",
    "config",
    "doctor",
    "token create --role viewer",
    "token list",
    "forget 1",
    "backup copy",
)


@pytest.fixture(scope="module")
def cluster() -> Iterator[clusters.Cluster]:
    with clusters.cluster("--slots=2") as found:
        yield found


def test_what_a_service_says_when_it_is_ready(cluster: clusters.Cluster) -> None:
    assert [name for name in cluster.ready if not named(name)] == []


def test_every_field_is_named(cluster: clusters.Cluster) -> None:
    unnamed: dict[str, list[str]] = {}
    for line in LINES:
        for record in printed(cluster, line):
            unnamed.setdefault(line, []).extend(name for name in fields(record) if not named(name))
    assert {line: sorted(set(names)) for line, names in unnamed.items() if names} == {}


def printed(cluster: clusters.Cluster, line: str) -> list[Any]:
    """What a command line prints on stdout, be its job a success or not."""
    asked = subprocess.run(
        ["sh", "-c", f"ampacity --json {line}"],
        cwd=cluster.home,
        env=cluster.environ,
        stdout=subprocess.PIPE,
        timeout=60,
        check=False,
    )
    return clusters.records(asked.stdout)


def fields(record: Any) -> Iterator[str]:
    """The names in a record, and in those inside of it."""
    if isinstance(record, dict):
        for name, value in record.items():
            yield name
            if name not in ("value", "kwargs", "ended"):
                yield from fields(value)
    elif isinstance(record, list):
        for one in record:
            yield from fields(one)


def named(name: str) -> bool:
    return f"`{name}`" in PAGE or f'"{name}"' in PAGE or f"{name}`" in PAGE
