"""What is built here works where the checkout is not."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import tarfile
import time
import venv
import zipfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import ampacity
import attrs
import pytest

ROOT = Path(ampacity.__file__).parent
NOT_BUILT_FROM = shutil.ignore_patterns(
    ".*", "build", "dist", "*.egg-info", "__pycache__", "tests", "benchmarks"
)


def environment() -> dict[str, str]:
    """Of a user who knows nothing of this checkout."""
    return {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "VIRTUAL_ENV"))}


def run(words: Sequence[str | Path], folder: Path) -> str:
    """What a command prints; it must end with 0."""
    done = subprocess.run(
        [str(word) for word in words],
        cwd=folder,
        env=environment(),
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


Twist = Callable[..., "subprocess.Popen[bytes]"]


@pytest.fixture
def twist(programs: Path, tmp_path: Path) -> Iterator[Twist]:
    """Starts a service under twist: its reactor, its name, its options. Its log is in a file."""
    started: list[subprocess.Popen[bytes]] = []

    def start(reactor: str, service: str, *options: str | Path) -> subprocess.Popen[bytes]:
        words = [programs / "python", "-m", "twisted", f"--reactor={reactor}", service, *options]
        with (tmp_path / f"{service}.log").open("wb") as log:
            one = subprocess.Popen(words, cwd=tmp_path, env=environment(), stdout=log, stderr=log)
        started.append(one)
        return one

    yield start
    for one in started:
        if one.poll() is None:
            one.kill()
        one.wait()


def until(condition: Callable[[], bool], what: str) -> None:
    """Only a look at its files tells what another process has come to."""
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end, what
        time.sleep(0.02)


@pytest.mark.parametrize(
    ("reactor", "other", "ended_by"), [("poll", "asyncio", "SIGTERM"), ("asyncio", "poll", "down")]
)
def test_services_under_twist(
    programs: Path, twist: Twist, access_folder: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    reactor: str, other: str, ended_by: str,
) -> None:  # fmt: skip
    tokens, ampacity_program = tmp_path / "tokens", programs / "ampacity"
    tokens.mkdir()
    coordinator = twist(
        reactor, "ampacity-coordinator", "--listen", "tcp:127.0.0.1:0",
        "--advertise", "127.0.0.1", "--tokens", tokens, "--state", tmp_path / "state",
    )  # fmt: skip
    line = tokens / "worker" / "token"
    until(line.exists, "no token was left")
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    worker = twist(
        other, "ampacity-worker", "--token-file", line, "--slots", "1",
        "--state", tmp_path / "worker's state",
    )  # fmt: skip
    printed = run([ampacity_program, "run", "math:factorial", "20"], tmp_path)
    assert printed == "2432902008176640000\n"
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(30) == 0, (tmp_path / "ampacity-worker.log").read_text()
    assert list(temporary.iterdir()) == []
    if ended_by == "down":
        run([ampacity_program, "down"], tmp_path)
    else:
        coordinator.send_signal(signal.SIGTERM)
    assert coordinator.wait(30) == 0, (tmp_path / "ampacity-coordinator.log").read_text()
    assert "Traceback" not in (tmp_path / "ampacity-coordinator.log").read_text()


@pytest.mark.parametrize(
    ("service", "option", "told"),
    [
        ("ampacity-coordinator", "--listen=tcp:no", "names no port"),
        ("ampacity-coordinator", "--slots=no", "a whole number from 0 was expected"),
        ("ampacity-worker", "--slots=1", "join what?"),
        ("ampacity-worker", "--coordinator=a:no", "'no' is no port"),
    ],
)
def test_mistakes_in_the_options_of_a_service(
    twist: Twist, tmp_path: Path, service: str, option: str, told: str
) -> None:
    assert twist("poll", service, option).wait(30) != 0
    log = (tmp_path / f"{service}.log").read_text()
    assert told in log
    assert "Traceback" not in log
