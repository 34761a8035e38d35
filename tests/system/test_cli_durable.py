"""What the command line keeps over the death of its coordinator, and how it speaks of it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest

MODULE = """
import os, time

def until(path):
    print("waiting", flush=True)
    while not os.path.exists(path):
        time.sleep(0.02)
    return os.path.basename(path)

def flaky(path, times):
    with open(path, "a") as file:
        file.write("x")
    if os.path.getsize(path) <= times:
        raise ValueError("not yet")
    return os.path.getsize(path)
"""


@attrs.frozen
class Shell:
    """Command lines in a folder of the test's own."""

    words: list[str]
    folder: Path

    def __call__(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*self.words, *words], capture_output=True, text=True, timeout=90, cwd=self.folder
        )

    def text(self, *words: str) -> str:
        """What one prints that goes well."""
        done = self(*words)
        assert done.returncode == 0, (words, done.stdout, done.stderr)
        return done.stdout.strip()

    def json(self, *words: str) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.text(*words, "--json").splitlines()]

    def up(self, *words: str) -> int:
        """Start a coordinator with a slot; its process."""
        self.text("up", "--detach", "--slots", "1", "--ready-file", "ready.json", *words)
        return int(json.loads((self.folder / "ready.json").read_text())["pid"])

    def kill(self, pid: int) -> None:
        """As a power cut does it; returns when nobody holds its folders any more."""
        os.kill(pid, signal.SIGKILL)
        self.wait_until(lambda: "held by" not in self("doctor").stdout)

    def state(self, job: str) -> str:
        return str(self.json("job", job)[0]["state"])

    def wait_until(self, condition: Callable[[], bool], seconds: float = 60.0) -> None:
        until = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < until, "it does not come"
            time.sleep(0.05)

    @contextlib.contextmanager
    def started(self, *words: str) -> Iterator[subprocess.Popen[str]]:
        """One that goes on; killed, if the test has not ended it."""
        with subprocess.Popen(
            [*self.words, *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=self.folder,
        ) as running:
            try:
                yield running
            finally:
                running.kill()


@pytest.fixture
def shell(ampacity_command: list[str], access_folder: Path, tmp_path: Path) -> Iterator[Shell]:
    (tmp_path / "mine.py").write_text(MODULE)
    shell = Shell(ampacity_command, tmp_path)
    yield shell
    shell("down")


def test_jobs_and_results_outlive_a_killed_coordinator(shell: Shell) -> None:
    pid = shell.up()
    assert shell.text("run", "math:factorial", "5") == "120"
    running = shell.text("submit", "mine:until", "go")
    queued = shell.text("submit", "--key", "six", "math:factorial", "6")
    shell.wait_until(lambda: shell.state(running) == "running")
    shell.kill(pid)
    shell.up()
    (shell.folder / "go").touch()
    assert shell("wait", running, queued).returncode == 0
    assert shell.text("result", running, queued).split() == ["go", "720"]
    assert shell.text("result", "1") == "120"
    assert shell.text("submit", "--key", "six", "math:factorial", "6") == queued
    (about,) = shell.json("job", running)
    assert (about["attempts"], about["losses"]) == (2, 1)
    assert any("lost" in event["text"] for event in about["story"])


def test_down_says_what_goes_on(shell: Shell) -> None:
    shell.up()
    job = shell.text("submit", "mine:until", "go")
    shell.wait_until(lambda: shell.state(job) == "running")
    assert "1 job had not ended, and goes on at its next start" in shell("down").stderr
    (shell.folder / "go").touch()
    shell.up()
    assert shell.text("result", job) == "go"
    assert shell.json("job", job)[0]["losses"] == 0


def test_an_ephemeral_one_keeps_nothing(shell: Shell, tmp_path: Path) -> None:
    shell.up("--ephemeral", "--state", str(tmp_path / "state"))
    shell.text("submit", "--wait", "math:factorial", "5")
    assert shell("down").returncode == 0
    assert not (tmp_path / "state" / "store").exists()


def test_of_two_on_one_state_folder_the_second_is_refused(shell: Shell, tmp_path: Path) -> None:
    pid = shell.up()
    done = shell("up", "--slots", "1", "--access", str(tmp_path / "other"))
    assert done.returncode == 4
    assert f"pid {pid}" in done.stderr
    assert "--state" in done.stderr


@pytest.fixture
def parted(shell: Shell) -> Iterator[Callable[[], int]]:
    """A coordinator and a worker of its own; the call starts the coordinator again."""
    port = 0

    def start() -> int:
        nonlocal port
        words = ("--detach", "--ready-file", "ready.json", "--listen", f"tcp:127.0.0.1:{port}")
        shell.text("coordinator", *words)
        ready = json.loads((shell.folder / "ready.json").read_text())
        port = int(ready["address"].rpartition(":")[2])
        return int(ready["pid"])

    first = start()
    line = json.loads((shell.folder / "ready.json").read_text())["join"]
    starts = iter([lambda: first])
    with shell.started("join", line, "--slots", "1") as worker:
        assert worker.stdout is not None
        assert "joined" in worker.stdout.readline()
        yield lambda: next(starts, start)()
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(30) == 0


def test_who_waits_notices_a_delay_only(shell: Shell, parted: Callable[[], int]) -> None:
    pid = parted()
    with shell.started("run", "mine:until", "go") as client:
        assert client.stdout is not None
        assert client.stderr is not None
        assert client.stdout.readline() == "waiting\n"
        shell.kill(pid)
        assert "the connection to the coordinator is lost" in client.stderr.readline()
        parted()
        assert "connected again" in client.stderr.readline()
        (shell.folder / "go").touch()
        assert client.stdout.readline() == "go\n"
        assert client.wait(30) == 0
    (about,) = shell.json("job", "1")
    assert (about["attempts"], about["losses"]) == (1, 0)


def test_in_the_end_it_says_how_to_come_back(shell: Shell) -> None:
    pid = shell.up()
    with shell.started("run", "--patience", "1s", "mine:until", "go") as client:
        assert client.stdout is not None
        assert client.stdout.readline() == "waiting\n"
        shell.kill(pid)
        _, err = client.communicate(timeout=30)
    assert client.returncode == 3
    assert "ampacity wait 1" in err
    assert "did not come back within" in err
    (shell.folder / "go").touch()
    shell.up()
    assert shell("wait", "1").returncode == 0


def test_retries_and_their_story(shell: Shell) -> None:
    shell.up()
    words = ("--retries", "3", "--backoff", "10ms", "--retry-on", "ValueError", "--wait")
    job = shell.text("submit", *words, "mine:flaky", "count", "2")
    (about,) = shell.json("job", job)
    assert (about["state"], about["value"]) == ("succeeded", 3)
    assert (about["attempts"], about["failures"], about["retries"]) == (3, 2, 3)
    shown = shell.text("job", job)
    assert shown.count("not yet") == 2
    assert "2 failed and tried again" in shown


def test_what_waits_for_its_next_attempt_can_be_cancelled(shell: Shell) -> None:
    shell.up()
    job = shell.text("submit", "--retries", "1", "--backoff", "1h", "mine:flaky", "count", "2")
    shell.wait_until(lambda: shell.state(job) == "delayed")
    assert "the next attempt begins at" in shell.text("job", job)
    assert [one["id"] for one in shell.json("jobs", "--state", "delayed")] == [int(job)]
    assert "was waiting for its next attempt" in shell.text("cancel", job)
    assert shell.state(job) == "cancelled"


def test_forgetting(shell: Shell) -> None:
    shell.up()
    shell.text("map", "math:factorial", ":::", "1", "2", "3")
    running = shell.text("submit", "mine:until", "go")
    assert shell("forget", "2").returncode == 0
    assert shell("result", "2").returncode == 5
    refused = shell("forget", running)
    assert (refused.returncode, "ampacity cancel ends it" in refused.stderr) == (4, True)
    assert shell("forget", "99").returncode == 5
    assert "2 jobs were forgotten" in shell("forget", "--all-ended").stderr
    assert [one["id"] for one in shell.json("jobs")] == [int(running)]
    shell.text("cancel", running)


def test_what_was_fetched_is_forgotten_first(shell: Shell) -> None:
    shell.up()
    for number in ("5", "6", "7", "8"):  # one may have ended before its command has
        shell.text("submit", "math:factorial", number)
    shell.wait_until(lambda: {one["state"] for one in shell.json("jobs")} == {"succeeded"})
    assert shell.text("result", "1") == "120"
    shell.wait_until(lambda: shell.json("jobs")[3]["fetched"])
    assert "1 job was forgotten" in shell("forget", "--fetched").stderr
    assert [one["id"] for one in shell.json("jobs")] == [4, 3, 2]


def test_what_ends_while_others_are_handed_in_is_not_fetched(shell: Shell) -> None:
    shell.up()
    with shell.started("map", "--detach", "math:sqrt") as handing_in:
        assert handing_in.stdin is not None
        handing_in.stdin.write("4\n")
        handing_in.stdin.flush()
        shell.wait_until(lambda: [one["state"] for one in shell.json("jobs")] == ["succeeded"])
        assert handing_in.communicate("9\n", timeout=60)[0] == "g1\n"
    shell.wait_until(lambda: {one["state"] for one in shell.json("jobs")} == {"succeeded"})
    assert "0 jobs were forgotten" in shell("forget", "--fetched").stderr
    assert shell.text("result", "g1").split() == ["2.0", "3.0"]


def test_a_map_that_was_cut_off_is_given_again(shell: Shell) -> None:
    shell.up()
    shell.text("map", "--detach", "--key", "squares", "math:sqrt", ":::", "1", "4")
    again = shell.text("map", "--key", "squares", "math:sqrt", ":::", "1", "4", "9")
    assert again.split() == ["1.0", "2.0", "3.0"]
    assert len(shell.json("jobs")) == 3


def test_a_backup_is_a_store(shell: Shell, tmp_path: Path) -> None:
    state, copy = tmp_path / "state", tmp_path / "copy"
    shell.up("--state", str(state))
    assert shell.text("run", "math:factorial", "5") == "120"
    (report,) = shell.json("backup", str(copy))
    assert (report["folder"], report["jobs"]) == (str(copy), 1)
    assert shell("backup", str(copy)).returncode == 4
    shell.text("run", "math:factorial", "6")
    assert shell("down").returncode == 0
    (state / "store").rename(tmp_path / "old")
    copy.rename(state / "store")
    shell.up("--state", str(state))
    assert [one["id"] for one in shell.json("jobs")] == [1]
    assert shell.text("result", "1") == "120"
    assert shell.text("run", "math:factorial", "7") == "5040"


def test_the_doctor_reads_a_store_that_nobody_uses(shell: Shell, tmp_path: Path) -> None:
    state = tmp_path / "state"
    pid = shell.up("--state", str(state))
    shell.text("run", "math:factorial", "5")
    os.kill(pid, signal.SIGKILL)
    shell.wait_until(lambda: store_check(shell, state)["ok"] is not None)
    sound = store_check(shell, state)
    assert (sound["ok"], "1 jobs" in sound["text"]) == (True, True)
    for path in (state / "store").glob("queue.db*"):
        path.write_bytes(b"something else altogether" * 1000)
    damaged = store_check(shell, state)
    assert (damaged["ok"], "backup" in damaged["next"]) == (False, True)
    done = shell("up", "--slots", "1", "--state", str(state))
    assert (done.returncode, "damaged" in done.stderr) == (4, True)


def store_check(shell: Shell, state: Path) -> dict[str, Any]:
    """What the doctor finds in the store of a state folder."""
    done = subprocess.run(
        [*shell.words, "doctor", "--json"],
        capture_output=True,
        text=True,
        timeout=90,
        env={**os.environ, "AMPACITY_STATE": str(state)},
    )
    checks = map(json.loads, done.stdout.splitlines())
    return next(check for check in checks if check["check"] == "store")


def test_what_has_no_command(shell: Shell) -> None:
    """Asked of a coordinator in memory."""
    shell.up("--ephemeral")
    done = shell("backup", "copy")
    assert (done.returncode, "--ephemeral" in done.stderr) == (4, True)
