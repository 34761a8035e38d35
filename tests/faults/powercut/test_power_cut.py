"""The power goes at any moment: what was acknowledged is there when the store is opened again.

Another seed, or more of them::

    POWERCUT_SEED=7 POWERCUT_CUTS=2000 make test TESTS=tests/faults/powercut
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from random import Random
from typing import Any

import pytest
import pytest_twisted
from ampacity.protocol.errors import StoreRefused
from ampacity.tests.faults.powercut.checking import integrity, read, verdict
from ampacity.tests.faults.powercut.disk import write_tree
from ampacity.tests.faults.powercut.plan import Step, plan
from ampacity.tests.faults.powercut.replay import Cut, count_steps, cuts, final
from twisted.internet import reactor as _reactor

reactor: Any = _reactor

SEED = int(os.environ.get("POWERCUT_SEED", "1"))
CUTS = int(os.environ.get("POWERCUT_CUTS", "60"))
STEPS = 200


async def losses(
    found: Iterable[Cut], steps: Sequence[Step], folder: Path
) -> tuple[int, dict[str, str]]:
    """How many cuts there were, and what was wrong after which of them."""
    wrong: dict[str, str] = {}
    count = 0
    ids = range(1, max(max(step.after, default=0) for step in steps) + 1)
    for cut in found:
        count += 1
        shutil.rmtree(folder, ignore_errors=True)
        write_tree(cut.tree, folder)
        acknowledged = sum(line.isdigit() for line in cut.said.splitlines())
        try:
            why = verdict(await read(reactor, folder, ids), acknowledged, steps)
        except StoreRefused as error:
            why = f"refused: {error}"
        if not why and (found_damage := integrity(folder)) != "ok":
            why = found_damage
        if why:
            wrong[f"seed {cut.seed}, step {cut.step}, {cut.odds}"] = why
    return count, wrong


@pytest_twisted.ensureDeferred
async def test_a_power_cut_takes_nothing_that_was_acknowledged(
    traced: Callable[..., list[str]], folder: Path
) -> None:
    root = folder / "state"
    root.mkdir()
    lines = traced(root, SEED, STEPS, "FULL")
    steps = list(plan(SEED, STEPS))
    seeds = range(SEED * 100_000, SEED * 100_000 + CUTS)
    count, wrong = await losses(cuts(lines, str(root), seeds), steps, folder / "after")
    print(f"{count} cuts at {count_steps(lines, str(root))} places, {len(wrong)} with a loss")
    assert count == CUTS
    assert wrong == {}


@pytest_twisted.ensureDeferred
async def test_without_syncs_it_does_and_that_is_seen(
    traced: Callable[..., list[str]], folder: Path
) -> None:
    root = folder / "state"
    root.mkdir()
    lines = traced(root, SEED, STEPS, "NORMAL")
    seeds = range(SEED * 100_000, SEED * 100_000 + CUTS // 2)
    steps = list(plan(SEED, STEPS))
    count, wrong = await losses(cuts(lines, str(root), seeds), steps, folder / "after")
    lost = [why for why in wrong.values() if "commits were acknowledged" in why]
    print(f"NORMAL: {count} cuts, {len(wrong)} with a loss, {len(lost)} of them without a word")
    assert len(wrong) > count // 4
    assert lost


@pytest_twisted.ensureDeferred
async def test_values_that_are_not_synced_are_missed(
    traced: Callable[..., list[str]], folder: Path
) -> None:
    root = folder / "state"
    root.mkdir()
    lines = traced(root, SEED, STEPS // 2, "FULL", "careless")
    seeds = range(SEED * 100_000, SEED * 100_000 + CUTS // 2)
    steps = list(plan(SEED, STEPS // 2))
    count, wrong = await losses(cuts(lines, str(root), seeds), steps, folder / "after")
    print(f"values not synced: {count} cuts, {len(wrong)} with a loss")
    assert wrong
    assert all("damaged: " in why for why in wrong.values()), "found out, each of them"


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize("when", Random(SEED).sample(range(20, 85), 3))
async def test_a_sync_that_failed_takes_nothing_either(
    traced: Callable[..., list[str]], folder: Path, when: int
) -> None:
    """Of a commit, the process stops. Of a checkpoint, SQLite says nothing: it writes the same
    pages again at the next one, and may go on."""
    root = folder / "state"
    root.mkdir()
    lines = traced(root, SEED, STEPS // 2, "FULL", fault=f"inject=fdatasync:error=EIO:when={when}")
    assert any("EIO" in line for line in lines)
    seeds = range(SEED * 100_000, SEED * 100_000 + CUTS // 3)
    steps = list(plan(SEED, STEPS // 2))
    count, wrong = await losses(cuts(lines, str(root), seeds), steps, folder / "after")
    print(f"sync {when} fails: {count} cuts, {len(wrong)} with a loss")
    assert wrong == {}


def test_the_model_of_the_disk_is_like_the_real_one(
    traced: Callable[..., list[str]], folder: Path
) -> None:
    root = folder / "state"
    root.mkdir()
    tree = final(traced(root, SEED, 60, "FULL"), str(root))
    write_tree(tree, folder / "after")
    real, modelled = (
        {str(path.relative_to(top)): path.read_bytes() for path in top.rglob("*") if path.is_file()}
        for top in (root, folder / "after")
    )
    assert real == modelled
