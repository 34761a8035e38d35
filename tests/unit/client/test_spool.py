"""Values on their way out: where they lie, and that none stays behind."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ampacity.client.spool import Spool
from ampacity.protocol.jobs import BlobRef
from twisted.internet.defer import Deferred, maybeDeferred

_PROGRAM = """
import os, signal
from ampacity.client.spool import Spool
from twisted.internet.defer import maybeDeferred
spool = Spool(maybeDeferred)
spool.add(b"x" * 100_000)
print(spool.folder, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    place = tmp_path / "temporary"
    place.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(place))
    monkeypatch.setenv("TMPDIR", str(place))
    return place


class Thread:
    """Does in its order what is given to it, one call at a time, when the test says so."""

    def __init__(self) -> None:
        self._calls: list[Callable[[], object]] = []

    def __call__(self, function: Any, *arguments: Any) -> Deferred[Any]:
        done: Deferred[Any] = Deferred()
        self._calls.append(lambda: maybeDeferred(function, *arguments).chainDeferred(done))
        return done

    def work(self, backwards: bool = False) -> None:
        while self._calls:
            self._calls.pop(-1 if backwards else 0)()


def test_a_value_lies_in_a_file_until_it_is_released(place: Path) -> None:
    spool = Spool(maybeDeferred)
    refs: list[BlobRef] = []
    for _ in range(2):
        spool.add(b"value").addCallback(refs.append)
    file = spool.file(refs[0]).result
    assert isinstance(file, Path)
    assert file.read_bytes() == b"value"
    assert file.parent.parent == place
    spool.release(refs[0])
    assert file.exists()
    spool.release(refs[1])
    assert not file.exists()
    spool.close()
    assert list(place.iterdir()) == []


def test_a_value_that_need_not_be_sent_is_never_written(place: Path) -> None:
    spool = Spool(maybeDeferred)
    ref = BlobRef(b"d" * 32, 5)
    spool.keep(ref, b"value")
    spool.release(ref)
    spool.close()
    assert list(place.iterdir()) == []


@pytest.mark.parametrize("backwards", [False, True])
def test_what_is_written_while_the_folder_is_removed_goes_as_well(
    place: Path, backwards: bool
) -> None:
    thread = Thread()
    spool = Spool(thread)
    results: list[Any] = []
    spool.add(b"value").addBoth(results.append)
    spool.close()
    spool.add(b"late").addBoth(results.append)
    thread.work(backwards)
    assert len(results) == 2
    assert list(place.iterdir()) == []


def test_the_next_program_removes_what_a_killed_one_has_left(place: Path) -> None:
    killed = subprocess.run(
        [sys.executable, "-c", _PROGRAM], stdout=subprocess.PIPE, text=True, timeout=60
    )
    assert killed.returncode == -signal.SIGKILL
    left = Path(killed.stdout.strip())
    assert len(list(left.iterdir())) == 2
    spool = Spool(maybeDeferred)
    spool.add(b"value")
    for thread in threading.enumerate():
        if thread.name == "ampacity-abandoned":
            thread.join(60)
    assert list(place.iterdir()) == [spool.folder]
    spool.close()
    assert list(place.iterdir()) == []
