"""What ``doctor`` makes of what it sees."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from ampacity import __version__
from ampacity.cli import doctor
from ampacity.cli.doctor import _clocks, _kept, _room, _Seen, _software, _state
from ampacity.protocol.access import StateFolder

NOW = 1_700_000_000.0


def seen(status: dict[str, Any] | None = None, *workers: str, took: float = 0.01) -> _Seen:
    about = {"software": __version__, "workers": len(workers), "slots": 1, **(status or {})}
    listed = [{"name": f"w{n}", "software": software} for n, software in enumerate(workers, 1)]
    return _Seen(about, listed, NOW, took)


@pytest.mark.parametrize(
    ("there", "took", "good"),
    [(NOW, 0.01, True), (NOW - 1, 0.01, True), (NOW + 60, 0.01, False), (NOW - 4, 6.0, True)],
)
def test_clocks(there: float, took: float, good: bool) -> None:
    check = _clocks(seen({"time": there}, took=took))
    assert check.good is good
    assert (check.todo is None) is good


def test_a_coordinator_that_does_not_tell_its_time() -> None:
    assert _clocks(seen()).good is None


def test_everybody_has_the_same_software() -> None:
    assert _software(seen(None, __version__)).good is True
    older = _software(seen(None, __version__, "0.0.9"))
    assert (older.good, "w2 0.0.9" in older.text) == (None, True)
    assert "workers drain" in (older.todo or "")
    behind = _software(seen({"software": "0.0.9"}, "0.0.9"))
    assert (behind.good, behind.todo) == (False, "the coordinator is upgraded first")
    ahead = _software(seen({"software": "99.1"}, "99.1"))
    assert (ahead.good, ahead.todo) == (None, "pip install ampacity==99.1")


def test_what_is_kept() -> None:
    store = {"folder": "/s", "bytes": 4096, "free": 1 << 40, "schema": "0002"}
    (check,) = _kept(seen({"durable": True, "disk": store, "unfetched": 3}))
    assert check.good is True
    assert "3 results not fetched" in check.text
    (check,) = _kept(seen({"durable": True, "disk": {**store, "free": 1000}}))
    assert (check.good, "forget" in (check.todo or "")) == (False, True)
    (check,) = _kept(seen({"durable": True, "disk": store, "refusing": "it is full"}))
    assert (check.good, "refused: it is full" in check.text) == (False, True)
    (check,) = _kept(seen({"durable": True, "disk": {**store, "damaged": 2}}))
    assert (check.good, "2 jobs in it are damaged" in check.text) == (False, True)
    (check,) = _kept(seen({"durable": True, "disk": {**store, "damaged": 0, "mended": "row 7"}}))
    assert (check.good, "made anew: row 7" in check.text) == (None, True)
    (check,) = _kept(seen({"durable": False}))
    assert (check.good, "in memory only" in check.text) == (None, True)
    assert list(_kept(seen())) == []


def test_little_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "LITTLE_ROOM", 0)
    assert _room(tmp_path).good is True
    monkeypatch.setattr(doctor, "LITTLE_ROOM", 1 << 60)
    assert _room(tmp_path).good is None
    monkeypatch.setattr(doctor, "NO_ROOM", 1 << 60)
    check = _room(tmp_path)
    assert (check.good, "forget" in (check.todo or "")) == (False, True)


def test_a_state_folder_that_others_can_read(tmp_path: Path) -> None:
    folder = tmp_path / "state"
    (check,) = _state(StateFolder(folder))
    assert (check.good, "is not there yet" in check.text) == (None, True)
    folder.mkdir(mode=0o755)
    (check,) = _state(StateFolder(folder))
    assert (check.good, "chmod 700" in check.text) == (False, True)


def test_a_state_folder_in_use(tmp_path: Path) -> None:
    folder = tmp_path / "state"
    folder.mkdir(mode=0o700)
    holding = StateFolder(folder)
    holding.lock()
    try:
        state, disk, store = _state(StateFolder(folder))
    finally:
        holding.unlock()
    assert f"held by process {os.getpid()}" in state.text
    assert (disk.name, store.good) == ("disk", None)


def test_a_store_that_is_no_database(tmp_path: Path) -> None:
    pytest.importorskip("ampacity.coordinator.schema")
    folder = tmp_path / "state"
    (folder / "store").mkdir(parents=True, mode=0o700)
    folder.chmod(0o700)
    (folder / "store" / "queue.db").write_bytes(b"no database at all, but long enough" * 100)
    *_, store = _state(StateFolder(folder))
    assert (store.good, "backup" in (store.todo or "")) == (False, True)
    assert StateFolder(folder).holder() is None
