"""What tests of another user's processes need: an interpreter that this user can run."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import ampacity
import attrs
import pytest
from ampacity.workers.rights import JobUser

ANOTHER_USER = "nobody"

_CODE = ("protocol", "coordinator", "workers", "client", "cli", "__init__.py", "loopwatch.py")


@attrs.frozen
class TheirPython:
    """An interpreter with ampacity that another user can run."""

    user: JobUser
    python: str
    path: str
    """Its ``PYTHONPATH``."""


@pytest.fixture(scope="session")
def _their_python(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TheirPython]:
    if os.geteuid() != 0:
        pytest.skip("only root can run jobs as another user")
    user = JobUser.named(ANOTHER_USER)
    assert user is not None
    folder = tmp_path_factory.mktemp("theirs")
    importable = folder / "path"
    importable.mkdir(mode=0o755)
    _copy_package(Path(ampacity.__file__).parent, importable / "ampacity")
    _let_through(folder)
    path = f"{importable}:{sysconfig.get_path('purelib')}"
    version = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    for python in (sys.executable, f"/usr/local/bin/{version}", f"/usr/bin/{version}"):
        if _runs(user, python, path):
            yield TheirPython(user, python, path)
            return
    pytest.skip(f"no {version} here that {ANOTHER_USER} can run")


@pytest.fixture
def their_python(
    _their_python: TheirPython, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> TheirPython:
    """An interpreter for jobs of another user; its path is in the environment, and the test's own
    folder can be passed through by that user."""
    monkeypatch.setenv("PYTHONPATH", _their_python.path)
    _let_through(tmp_path)
    return _their_python


def _copy_package(root: Path, to: Path) -> None:
    to.mkdir(mode=0o755)
    for name in _CODE:
        if (root / name).is_dir():
            shutil.copytree(root / name, to / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(root / name, to / name)


def _let_through(folder: Path) -> None:
    """pytest's folders are its user's alone."""
    for above in (folder, *folder.parents):
        mode = above.stat().st_mode
        if not mode & 0o001:
            above.chmod(mode | 0o001)


def _runs(user: JobUser, python: str, path: str) -> bool:
    words = user.words([python, "-c", "import ampacity.workers.child"])
    environment = {**user.environment(os.environ), "PYTHONPATH": path}
    done = subprocess.run(words, env=environment, capture_output=True, check=False, cwd="/")
    return done.returncode == 0
