"""What is built here works where the checkout is not."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from collections.abc import Sequence
from pathlib import Path

import ampacity
import attrs
import pytest

ROOT = Path(ampacity.__file__).parent
NOT_BUILT_FROM = shutil.ignore_patterns(
    ".*", "build", "dist", "*.egg-info", "__pycache__", "tests", "benchmarks"
)


def run(words: Sequence[str | Path], folder: Path) -> str:
    """What a command prints; it must end with 0."""
    environ = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "VIRTUAL_ENV"))}
    done = subprocess.run(
        [str(word) for word in words],
        cwd=folder,
        env=environ,
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )
    assert done.returncode == 0, f"{words}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@attrs.frozen
class Built:
    wheel: Path
    sdist: Path


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """An sdist of the tree as it is, and the wheel that is built from that sdist."""
    folder = tmp_path_factory.mktemp("built")
    tree = folder / "a checkout"
    shutil.copytree(ROOT, tree, ignore=NOT_BUILT_FROM)
    run([sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, tree], folder)
    return Built(next(folder.glob("*.whl")), next(folder.glob("*.tar.gz")))


@pytest.fixture(scope="module")
def programs(built: Built, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of programs of a fresh environment, with the wheel in it.

    What the wheel depends on comes from the environment of the tests, where ampacity itself is
    not: an editable install is not found through a path.
    """
    home = tmp_path_factory.mktemp("installed") / "env"
    venv.create(home, symlinks=True)
    pip: list[str | Path] = [
        sys.executable,
        "-m",
        "pip",
        "--python",
        home / "bin" / "python",
        "install",
        "--quiet",
    ]
    run([*pip, "--no-deps", "--no-index", built.wheel], home)
    site = next((home / "lib").glob("python*/site-packages"))
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return home / "bin"


def test_it_is_the_wheel_that_runs(programs: Path, tmp_path: Path) -> None:
    where = run([programs / "python", "-c", "import ampacity; print(ampacity.__file__)"], tmp_path)
    assert Path(where.strip()).is_relative_to(programs.parent)


def test_the_wheel_holds_the_package_and_nothing_else(built: Built) -> None:
    names = zipfile.ZipFile(built.wheel).namelist()
    tops = {name.split("/")[0] for name in names}
    assert tops == {"ampacity", "twisted", f"ampacity-{ampacity.__version__}.dist-info"}
    assert [name for name in names if name.startswith("twisted/")] == [
        "twisted/plugins/ampacity_plugin.py"
    ]
    assert {"ampacity/py.typed", "ampacity/protocol/commands.py"} <= set(names)


def test_the_sdist_can_be_read_by_people(built: Built) -> None:
    with tarfile.open(built.sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"README.md", "LICENSE", "pyproject.toml", "protocol/commands.py"} <= names


def test_the_version(programs: Path, tmp_path: Path) -> None:
    assert ampacity.__version__ in run([programs / "ampacity", "--version"], tmp_path)


def test_a_job_runs(programs: Path, tmp_path: Path) -> None:
    printed = run([programs / "ampacity", "run", "math:factorial", "20"], tmp_path)
    assert printed == "2432902008176640000\n"


def test_a_module_of_the_working_folder_runs(programs: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("def double(x):\n    return 2 * x\n")
    printed = run([programs / "ampacity", "map", "mine:double", ":::", "1", "2", "3"], tmp_path)
    assert printed.split() == ["2", "4", "6"]


def test_twist_knows_both_services(programs: Path, tmp_path: Path) -> None:
    told = run([programs / "python", "-m", "twisted", "--help"], tmp_path)
    assert "ampacity-coordinator" in told
    assert "ampacity-worker" in told


@pytest.mark.parametrize("service", ["ampacity-coordinator", "ampacity-worker"])
def test_twist_shows_the_options_of_a_service(programs: Path, tmp_path: Path, service: str) -> None:
    told = run([programs / "python", "-m", "twisted", service, "--help"], tmp_path)
    assert "--access" in told or "--coordinator" in told
