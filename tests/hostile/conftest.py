"""One cluster for all attacks of a run. They come last: it slows no other test down."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from .ground import Ground, decent


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Ordinary jobs are timed while an attack goes on: nothing else shall slow them down."""
    here = Path(__file__).parent
    for item in items:
        if item.path.parent == here:
            item.add_marker(pytest.mark.alone)
    items.sort(key=lambda item: item.path.parent == here)


@pytest.fixture(scope="session")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    """The coordinator, its two workers, and the client that goes on working."""
    ground = Ground(tmp_path_factory.mktemp("h"))
    try:
        ground.start()
        began = {process.name: process.pid for process in ground.processes}
        yield ground
        assert {process.name: process.pid for process in ground.processes} == began
        for process in ground.processes:
            decent(process.log())
    finally:
        ground.stop()
        _tell(ground)


def _tell(ground: Ground) -> None:
    """What every attack did, for ``pytest -s``."""
    for one in ground.record:
        print(
            f"\n{one.name}: p99 {one.before * 1000:.0f} -> {one.during * 1000:.0f} ms of "
            f"{one.jobs} jobs, {one.growth / 2**20:+.1f} MiB, tries {one.tries}",
            end="",
        )
