"""Units of systemd, and what systemd itself says of them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from ampacity.cli.entry import main
from ampacity.cli.units import STOP_SECONDS, Unit, quoted

ODD = ["plain", "with space", 'quo"ted', "100%", "$HOME", "back\\slash", "semi;colon", "it's", ""]


def unit(**changes: object) -> Unit:
    given: dict[str, object] = {
        "role": "worker",
        "command": [sys.executable, "join", "host:8786"],
        "system": True,
        "user": "daemon",
        **changes,
    }
    return Unit(**given)  # type: ignore[arg-type]  # by name, for brevity


def lines(text: str) -> dict[str, str]:
    return dict(line.split("=", 1) for line in text.splitlines() if "=" in line)


def test_a_worker_may_take_its_grace_to_end() -> None:
    found = lines(unit(grace=120.0).text())
    assert found["Type"] == "notify"
    assert found["TimeoutStopSec"] == str(120 + STOP_SECONDS)
    # the jobs hear of it from the worker alone, and a greedy one is killed alone
    assert (found["KillMode"], found["OOMPolicy"]) == ("mixed", "continue")
    assert found["RestartPreventExitStatus"] == "2 4"
    assert found["StateDirectory"] == "ampacity-worker"


def test_jobs_keep_what_their_user_may_do() -> None:
    forbidden = {"NoNewPrivileges", "PrivateDevices", "ProtectHome", "RestrictSUIDSGID"}
    assert not forbidden & set(lines(unit().text()))
    assert not forbidden & set(lines(unit(role="coordinator", jobs=True).text()))
    closed = lines(unit(role="coordinator", jobs=False).text())
    assert closed["NoNewPrivileges"] == "yes"
    assert "OOMPolicy" not in closed


def test_a_coordinator_gives_signs_of_life() -> None:
    found = lines(unit(role="coordinator", jobs=False).text())
    assert found["WatchdogSec"] == "60"
    assert found["RestartPreventExitStatus"] == "2"
    assert found["RuntimeDirectory"] == "ampacity"


def test_a_unit_of_a_user_has_its_folders() -> None:
    found = lines(unit(system=False, user=None).text())
    assert not {"User", "StateDirectory", "ProtectSystem"} & set(found)
    assert found["WantedBy"] == "default.target"


@pytest.mark.parametrize(
    "word", ["two\nlines", "nu\0l", "a\rUser=root", "\x1b[2J", "\u202e", "\udc80"]
)
def test_what_a_unit_cannot_hold(word: str) -> None:
    with pytest.raises(ValueError, match="of one line"):
        quoted(word)


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="there is no systemd here")
@pytest.mark.parametrize("jobs", [False, True])
@pytest.mark.parametrize("system", [False, True])
@pytest.mark.parametrize("role", ["coordinator", "worker"])
def test_systemd_takes_it(role: str, system: bool, jobs: bool, tmp_path: Path) -> None:
    made = unit(
        role=role,
        system=system,
        user="daemon" if system else None,
        jobs=jobs,
        command=[sys.executable, *ODD],
        environment={"AMPACITY_TOKEN_FILE": "/tmp/a b/100%"},
    )
    path = tmp_path / made.name
    path.write_text(made.text())
    scope = [] if system else ["--user"]
    done = subprocess.run(
        ["systemd-analyze", *scope, "verify", str(path)],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "XDG_RUNTIME_DIR": str(tmp_path)},
    )
    assert (done.returncode, done.stderr, done.stdout) == (0, "", "")


# -- ampacity service -----------------------------------------------------------------------------


def test_install_and_uninstall(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    path = tmp_path / "systemd" / "user" / "ampacity-worker.service"
    words = ["service", "install", "--user", "worker", "--coordinator", "host:8786"]
    assert main([*words, "--grace", "1m", "--token-file", "w.token"]) == 0
    out, err = capsys.readouterr()
    assert out == f"{path}\n"
    assert "systemctl --user enable --now ampacity-worker.service" in err
    text = path.read_text()
    assert " join --grace 60 host:8786" in text
    assert f"AMPACITY_TOKEN_FILE={Path.cwd() / 'w.token'}" in text
    assert main(["service", "uninstall", "--user", "worker"]) == 0
    assert not path.exists()
    assert "disable --now" in capsys.readouterr().err
    assert main(["service", "uninstall", "--user", "worker"]) == 5


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["worker"], "join what?"),
        (["worker", "--coordinator", "host:8786#amp1.x"], "by --token-file"),
        (["coordinator", "--lifetime", "2h"], "--lifetime is nothing for a coordinator"),
        (["worker", "--coordinator", "h:1", "--listen", "tcp:1"], "--listen is nothing for a"),
        (["--system", "coordinator", "--run-as", "no one"], "there is no such user here"),
    ],
)
def test_what_makes_no_unit(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    scope = [] if "--system" in words else ["--user"]
    assert main(["service", "install", "--dry-run", *scope, *words]) == 2
    assert said in capsys.readouterr().err
