"""Bits flip in the files of a store: what is read is right, or it is said to be damaged."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from typing import Any

import attrs
import pytest
import pytest_twisted
from ampacity.coordinator.sqlite import DATABASE
from ampacity.coordinator.store import StoreBroken
from ampacity.protocol.errors import StoreRefused
from ampacity.tests.faults.powercut.checking import Reading, read
from ampacity.tests.faults.powercut.pages import places
from ampacity.tests.faults.powercut.plan import State, Step, plan
from twisted.internet import reactor as _reactor

reactor: Any = _reactor

DRIVER = "ampacity.tests.faults.powercut.driving"

SEED = int(os.environ.get("POWERCUT_SEED", "1"))
FLIPS = int(os.environ.get("POWERCUT_FLIPS", "40"))
MANY = 6 * FLIPS
"""Where no files need to be copied."""
STEPS = 120


@attrs.frozen
class Kept:
    """A store as a process has left it, and what is in it."""

    root: Path
    steps: Sequence[Step]

    @property
    def wanted(self) -> State:
        return self.steps[-1].after

    @property
    def ids(self) -> range:
        return range(1, max(self.wanted) + 1)

    def copy(self, to: Path) -> Path:
        shutil.rmtree(to, ignore_errors=True)
        shutil.copytree(self.root, to)
        return to / "store"


@pytest.fixture
def keep(folder: Path) -> Callable[..., Kept]:
    """Has a process make a store, with the options of the driver."""

    def make(*options: str) -> Kept:
        (folder / "state").mkdir()
        words = ["-m", DRIVER, str(folder / "state"), str(SEED), str(STEPS), "FULL", *options]
        subprocess.run([sys.executable, *words], check=True, stdout=subprocess.DEVNULL)
        return Kept(folder / "state", list(plan(SEED, STEPS)))

    return make


@pytest.fixture
def kept(keep: Callable[..., Kept]) -> Kept:
    """A store that was closed well."""
    return keep()


def flip(path: Path, chance: Random, bits: int) -> None:
    """Change some bits, and not the times of the file."""
    about, data = path.stat(), bytearray(path.read_bytes())
    for _ in range(bits):
        place = chance.randrange(len(data))
        data[place] ^= 1 << chance.randrange(8)
    path.write_bytes(data)
    os.utime(path, ns=(about.st_atime_ns, about.st_mtime_ns))


@attrs.define
class Account:
    """What came of many flips."""

    kept: Kept
    ends: Counter[str] = attrs.field(factory=Counter)
    wrong: dict[int, str] = attrs.field(factory=dict)
    """By seed: what was not what it was, and nobody said so."""
    missing: dict[int, str] = attrs.field(factory=dict)
    """By seed: what was not found, in one of the ways that it is looked for, the same."""

    def refused(self, error: Exception) -> None:
        self.ends[type(error).__name__] += 1

    def take(self, seed: int, found: Reading, commits: int) -> None:
        wanted = self.kept.steps[commits - 1].after if commits else {}
        if commits < len(self.kept.steps):
            self.ends["earlier"] += 1
        wrong = sorted(n for n, job in found.jobs.items() if wanted.get(n) != job)
        missing = sorted(wanted.keys() - found.jobs.keys() - found.damaged.keys())
        if wrong:
            self.wrong[seed] = f"{wrong}; said to be damaged: {found.damaged}"
        if missing or found.astray:
            self.missing[seed] = f"{missing}, {found.astray}; damaged: {found.damaged}"
        mended = "mended" if found.mended else "nothing changed"
        self.ends["told" if found.damaged else mended] += 1

    @property
    def silent(self) -> dict[int, str]:
        return self.wrong | self.missing

    def __str__(self) -> str:
        return f"{dict(self.ends)}, wrong: {len(self.wrong)}, missing: {len(self.missing)}"


async def flipped(
    kept: Kept, choose: Callable[[Path, Random], Path], bits: tuple[int, ...]
) -> Account:
    account = Account(kept)
    for seed in range(SEED * 100_000, SEED * 100_000 + FLIPS):
        chance = Random(seed)
        store = kept.copy(kept.root.with_name("flipped"))
        flip(choose(store, chance), chance, chance.choice(bits))
        try:
            found = await read(reactor, store.parent, kept.ids)
            account.take(seed, found, found.commits)
        except (StoreRefused, StoreBroken) as error:
            account.refused(error)
    return account


async def flipped_database(
    kept: Kept, choose: Callable[[Random], Sequence[tuple[int, int]]], flips: int
) -> Account:
    """The same for the database file alone, which was closed well: bits by their bytes."""
    account, folder = Account(kept), kept.root.with_name("flipped")
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "store").mkdir(parents=True)
    whole = (kept.root / "store" / DATABASE).read_bytes()
    for seed in range(SEED * 100_000, SEED * 100_000 + flips):
        data = bytearray(whole)
        for place, bit in choose(Random(seed)):
            data[place] ^= 1 << bit
        for path in (folder / "store").glob(f"{DATABASE}*"):
            path.unlink()
        (folder / "store" / DATABASE).write_bytes(data)
        try:
            found = await read(reactor, folder, kept.ids, values=False, synchronous="NORMAL")
            account.take(seed, found, len(kept.steps))
        except (StoreRefused, StoreBroken) as error:
            account.refused(error)
    return account


@pytest_twisted.ensureDeferred
async def test_without_a_flip_all_is_there(kept: Kept) -> None:
    found = await read(reactor, kept.root, kept.ids)
    assert found.jobs == kept.wanted
    assert not found.damaged


@pytest_twisted.ensureDeferred
async def test_bits_of_values(kept: Kept) -> None:
    def value(store: Path, chance: Random) -> Path:
        return chance.choice(sorted((store / "values").iterdir()))

    account = await flipped(kept, value, (1, 2, 8))
    print(f"values: {account}")
    assert account.wrong == account.missing == {}
    assert account.ends["told"] == FLIPS


@pytest_twisted.ensureDeferred
async def test_bits_of_the_database(kept: Kept) -> None:
    size = (kept.root / "store" / DATABASE).stat().st_size

    def anywhere(chance: Random) -> Sequence[tuple[int, int]]:
        bits = chance.choice((1, 1, 1, 20, 400))
        return [(chance.randrange(size), chance.randrange(8)) for _ in range(bits)]

    account = await flipped_database(kept, anywhere, MANY)
    print(f"database: {account}")
    assert account.silent == {}
    assert account.ends["told"]


@pytest_twisted.ensureDeferred
async def test_bits_of_what_rows_are_found_by(kept: Kept) -> None:
    """Ids, keys, pointers, headers, indexes: what is hidden by a flip has no seal to show."""
    found = places(kept.root / "store" / DATABASE)
    kinds = sorted(found)
    assert {"cells", "children", "entries", "headers", "ids", "keys"} <= {*kinds}

    def one(chance: Random) -> Sequence[tuple[int, int]]:
        return [(chance.choice(found[chance.choice(kinds)]), chance.randrange(8))]

    account = await flipped_database(kept, one, MANY)
    print(f"what rows are found by: {account}")
    assert account.silent == {}
    assert account.ends["StoreRefused"] > MANY // 3
    assert account.ends["mended"]


@pytest_twisted.ensureDeferred
async def test_bits_of_the_log(keep: Callable[..., Kept]) -> None:
    """Only those of the last commit look like a power cut: the state of the one before it is
    found then, whole. All others are refused."""
    account = await flipped(
        keep("leaving"), lambda store, _: store / "queue.db-wal", (1, 1, 20, 400)
    )
    print(f"log: {account}")
    assert account.wrong == account.missing == {}
    assert account.ends["StoreRefused"] > FLIPS // 5
