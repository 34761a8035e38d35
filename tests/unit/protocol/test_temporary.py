"""Temporary folders: those of the living stay, those of the dead go."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest
from ampacity.protocol.temporary import TemporaryFolder, remove_abandoned

_PROGRAM = """
import sys
from ampacity.protocol.temporary import TemporaryFolder
folder = TemporaryFolder("worker-")
(folder.path / "result").write_text("much")
print(folder.path, flush=True)
sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    place = tmp_path / "temporary"
    place.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(place))
    monkeypatch.setenv("TMPDIR", str(place))
    return place


def test_a_folder_of_ours_is_ours_alone_and_goes(place: Path) -> None:
    folder = TemporaryFolder("worker-")
    assert folder.path.parent == place
    assert folder.path.name.startswith("ampacity-worker-")
    assert folder.path.stat().st_mode & 0o777 == 0o700
    assert remove_abandoned() == []
    assert folder.path.exists()
    folder.remove()
    folder.remove()
    assert list(place.iterdir()) == []


def test_what_a_killed_process_left_is_removed_and_nothing_else(place: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", _PROGRAM], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdin is not None and process.stdout is not None
    try:
        left = Path(process.stdout.readline().strip())
        assert left.parent == place
        strangers = [place / "ampacity-notes", place / "other"]
        for stranger in strangers:
            stranger.mkdir()
        (place / "ampacity-link").symlink_to(left)
        assert remove_abandoned() == []
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdin.close()
        process.stdout.close()
    assert remove_abandoned() == [left]
    assert not left.exists()
    assert all(stranger.exists() for stranger in strangers)


def test_a_removal_that_was_cut_short_is_finished(place: Path, monkeypatch: pytest.MonkeyPatch):
    folder = TemporaryFolder("worker-")
    (folder.path / "inner").mkdir()
    (folder.path / "inner" / "file").touch()
    (folder.path / "link").symlink_to(place)
    with monkeypatch.context() as patch:
        patch.setattr("shutil.rmtree", lambda *_, **__: None)
        folder.remove()
    assert remove_abandoned() == [folder.path]
    assert list(place.iterdir()) == []
