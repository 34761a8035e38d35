"""The kit's pools are checked against the real one, with the same clauses."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from ampacity import Pool
from ampacity.testing import InlinePool, ManualPool, VirtualCluster
from ampacity.tests.unit.testing.benches import Bench, cluster, inline, manual
from ampacity.tests.unit.testing.contract import CLAUSES
from twisted.internet import reactor

BENCHES = {"inline": inline, "manual": manual, "cluster": cluster}


@pytest.mark.parametrize("kind", BENCHES)
@pytest.mark.parametrize("clause", CLAUSES, ids=lambda clause: clause.__name__)
@pytest_twisted.ensureDeferred
async def test_of_the_kit(kind: str, clause: Any, tmp_path: Path) -> None:
    await clause(BENCHES[kind](), tmp_path)


@pytest_twisted.ensureDeferred
async def test_of_the_real_pool(tmp_path: Path) -> None:
    """All clauses on one, since its processes take their time to start."""
    async with Pool(slots=2, reactor=reactor) as pool:
        bench = Bench("real", pool, lambda: Pool(reactor=reactor))
        for clause in CLAUSES:
            folder = tmp_path / clause.__name__
            folder.mkdir()
            try:
                await clause(bench, folder)
            except Exception as e:
                e.add_note(f"of the real pool: {clause.__name__}")
                raise


METHODS = [name for name in vars(Pool) if not name.startswith("_")]


@pytest.mark.parametrize("kind", [InlinePool, ManualPool, type(VirtualCluster(workers=0).pool())])
def test_the_methods_are_those_of_a_pool(kind: type[Pool]) -> None:
    assert issubclass(kind, Pool)
    for name in METHODS:
        theirs, real = getattr(kind, name), getattr(Pool, name)
        if callable(real) and name != "connect":
            assert inspect.signature(theirs) == inspect.signature(real)
