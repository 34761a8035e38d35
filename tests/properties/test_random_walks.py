"""Clusters that do what seeds say: nothing is lost, delivered twice, or accepted stale.

``pytest tests/properties/test_random_walks.py -k "durable_cluster and 7"`` walks one of them.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from ampacity.coordinator.settings import Settings
from ampacity.tests.properties.played_core import small_bounds
from ampacity.tests.properties.random_walk import Walk

ROOMY = Settings(retain_jobs=10_000, session_keep=300.0)
TIGHT = Settings(retain_jobs=30, session_keep=60.0, retain_untaken=120.0)


@pytest.fixture(autouse=True, scope="module")
def few_are_enough() -> Iterator[None]:
    with small_bounds():
        yield


@pytest.mark.parametrize("seed", range(15))
def test_a_durable_cluster(seed: int) -> None:
    Walk(seed, ROOMY, durable=True).run(300)


@pytest.mark.parametrize("seed", range(10))
def test_a_durable_cluster_with_little_room(seed: int) -> None:
    Walk(seed, TIGHT, durable=True).run(300)


@pytest.mark.parametrize("seed", range(10))
def test_a_cluster_in_memory(seed: int) -> None:
    Walk(seed, ROOMY, durable=False).run(300)


@pytest.mark.parametrize("seed", range(10))
def test_a_cluster_in_memory_with_little_room(seed: int) -> None:
    Walk(seed, TIGHT, durable=False).run(300)
