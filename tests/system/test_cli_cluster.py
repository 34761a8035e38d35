"""The command line with a coordinator: ``up``, ``coordinator``, ``join``, and what asks them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

Run = Callable[..., "subprocess.CompletedProcess[str]"]

MODULE = """
import os, sys, time

def simulate(n, seed=0):
    print("simulating", n)
    print("a complaint", file=sys.stderr)
    return {"n": n, "seed": seed}

def until(path):
    print("waiting", flush=True)
    while not os.path.exists(path):
        time.sleep(0.02)
    print("done", flush=True)
    return os.path.basename(path)

def die():
    os.kill(os.getpid(), 9)

def stubborn():
    import signal
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    print("waiting", flush=True)
    time.sleep(600)
"""


GIGABYTE = 1 << 30

OTHER_VERSION = """
import sys
import ampacity.protocol.commands
ampacity.protocol.commands.PROTOCOL_VERSIONS = (99,)
from ampacity.cli.entry import main
sys.exit(main())
"""


@pytest.fixture
def run(ampacity_command: list[str], access_folder: Path, tmp_path: Path) -> Run:
    """Run one command line in a folder of the test's own, where the module ``mine`` is."""
    (tmp_path / "mine.py").write_text(MODULE)

    def run_command(*words: str, **options: Any) -> subprocess.CompletedProcess[str]:
        options.setdefault("cwd", tmp_path)
        return subprocess.run(
            [*ampacity_command, *words], capture_output=True, text=True, timeout=60, **options
        )

    return run_command


@pytest.fixture
def up(run: Run) -> Iterator[dict[str, Any]]:
    """A coordinator with two slots, detached."""
    done = run("up", "--detach", "--slots", "2", "--ready-file", "ready.json")
    assert done.returncode == 0, done.stderr
    yield {"stdout": done.stdout}
    assert run("down").returncode == 0


def text(done: subprocess.CompletedProcess[str]) -> str:
    """What it printed; it must have gone well."""
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def wait_for(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    """Of processes of others, only a look tells what they have come to."""
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "it does not come"
        time.sleep(0.02)


def state(run: Run, job: str) -> str:
    """The state of a job."""
    return str(json.loads(text(run("job", "--json", job)))["state"])


def begin_waiting(run: Run, tmp_path: Path) -> str:
    """Submit a job that runs until the file ``go`` is there; its id, once it runs."""
    job = text(run("submit", "mine:until", str(tmp_path / "go")))
    wait_for(lambda: state(run, job) == "running")
    return job


@pytest.mark.usefixtures("up")
class TestJobs:
    def test_run_and_submit_need_no_flags(self, run: Run) -> None:
        assert text(run("run", "math:factorial", "5")) == "120"
        job = text(run("submit", "--kw", "seed=7", "--wait", "mine:simulate", "1000"))
        assert job == "2"
        assert json.loads(text(run("result", job))) == {"n": 1000, "seed": 7}
        assert text(run("result", "last")) == text(run("result", "2"))

    def test_options_of_a_pool_of_our_own_have_no_use(self, run: Run) -> None:
        done = run("run", "--slots", "4", "math:factorial", "5")
        assert (done.stdout, done.returncode) == ("120\n", 0)
        assert "--slots counts for a pool of our own only" in done.stderr
        assert run("run", "math:factorial", "5").stderr == ""

    def test_the_story_of_a_job(self, run: Run) -> None:
        run("submit", "--wait", "--name", "the \x1b[31mred one", "mine:simulate", "7")
        shown = text(run("job", "last"))
        assert "call         mine.simulate(7)" in shown
        assert "1 (the \\x1b[31mred one)" in shown
        assert "state        succeeded" in shown
        record = json.loads(text(run("job", "--json", "last")))
        assert record["call"] == "mine.simulate(7)"
        assert record["value"] == {"n": 7, "seed": 0}
        assert record["submitted"].endswith("Z")
        assert "\x1b" not in text(run("jobs"))

    def test_logs(self, run: Run) -> None:
        run("submit", "--wait", "mine:simulate", "7")
        done = run("logs", "1")
        assert (done.stdout, done.stderr) == ("simulating 7\n", "a complaint\n")
        lines = [json.loads(line) for line in run("logs", "--json", "1").stdout.splitlines()]
        assert {"id": 1, "stream": "stdout", "text": "simulating 7\n"} in lines

    def test_logs_that_follow(self, run: Run, ampacity_command: list[str], tmp_path: Path) -> None:
        job = begin_waiting(run, tmp_path)
        words = [*ampacity_command, "logs", "-f", job]
        with subprocess.Popen(words, stdout=subprocess.PIPE) as following:
            assert following.stdout is not None
            assert following.stdout.readline() == b"waiting\n"
            (tmp_path / "go").touch()
            assert following.stdout.readline() == b"done\n"
            assert following.wait(30) == 0

    def test_groups_come_back_later(self, run: Run) -> None:
        assert text(run("map", "--detach", "math:sqrt", ":::", "4", "-1", "9")) == "g1"
        done = run("result", "g1")
        assert (done.stdout, done.returncode) == ("2.0\n3.0\n", 1)
        assert "item 1, job 2: ValueError: math domain error" in done.stderr
        records = [json.loads(line) for line in run("result", "--json", "g1").stdout.splitlines()]
        assert [record["index"] for record in records] == [0, 1, 2]
        assert [record["args"] for record in records] == [[4], [-1], [9]]
        assert text(run("retry", "g1")) == "job 2 runs again as 4"
        assert run("wait", "g1").returncode == 1
        assert run("wait", "1", "3").returncode == 0

    def test_a_retry_mends_its_group(self, run: Run, tmp_path: Path) -> None:
        module = "import os\ndef there(name):\n    os.stat(name)\n    return name\n"
        (tmp_path / "later.py").write_text(module)
        (tmp_path / "a").touch()
        assert text(run("map", "--detach", "later:there", ":::", "a", "b", "c")) == "g1"
        done = run("result", "g1")
        assert (done.stdout, done.returncode) == ("a\n", 1)
        assert "2 of 3 jobs did not succeed; again: ampacity retry g1" in done.stderr
        (tmp_path / "b").touch()
        assert text(run("retry", "g1")).splitlines() == [
            "job 2 runs again as 4",
            "job 3 runs again as 5",
        ]
        done = run("result", "g1")
        assert (done.stdout, done.returncode) == ("a\nb\n", 1)
        assert "item 2, job 5: FileNotFoundError" in done.stderr
        (tmp_path / "c").touch()
        assert text(run("retry", "failed")) == "job 5 runs again as 6"
        done = run("result", "--json", "g1")
        records = [json.loads(line) for line in text(done).splitlines()]
        assert [(record["index"], record["id"]) for record in records] == [(0, 1), (1, 4), (2, 6)]
        assert run("retry", "g1").returncode == 5
        assert run("wait", "g1").returncode == 0

    def test_a_job_that_was_run_again_says_so(self, run: Run) -> None:
        run("submit", "--wait", "math:sqrt", "-1")
        assert text(run("retry", "1")) == "job 1 runs again as 2"
        done = run("retry", "1")
        assert done.returncode == 4
        assert "job 1 was run again already, as job 2; once more: ampacity retry 2" in done.stderr
        assert "retried      as job 2" in text(run("job", "1"))
        assert "retry of     job 1" in text(run("job", "2"))
        assert "failed, retried" in text(run("jobs"))
        (record,) = [json.loads(line) for line in text(run("job", "--json", "1")).splitlines()]
        assert (record["retried"], record["retry_of"]) == (2, None)
        assert run("retry", "failed", "2").returncode == 0

    def test_what_runs_is_not_run_again(self, run: Run, tmp_path: Path) -> None:
        job = begin_waiting(run, tmp_path)
        done = run("retry", job)
        assert done.returncode == 4
        assert "it is running, and has not ended" in done.stderr

    def test_cancel_says_what_happened(self, run: Run, tmp_path: Path) -> None:
        first, second = begin_waiting(run, tmp_path), begin_waiting(run, tmp_path)
        queued = text(run("submit", "mine:until", str(tmp_path / "go")))
        lines = text(run("cancel", f"{first},{queued}", "all")).splitlines()
        assert "SIGINT was enough" in lines[0]
        assert lines[1] == f"job {queued}: cancelled; it had not begun"
        assert lines[2] == f"job {first}: had ended before: cancelled"
        assert f"job {second}: " in lines[3]
        done = run("result", first)
        assert done.returncode == 1
        assert "was enough" in done.stderr

    def test_cancel_of_who_does_not_listen(self, run: Run) -> None:
        job = text(run("submit", "mine:stubborn"))
        wait_for(lambda: "waiting" in run("logs", job).stdout)
        assert "SIGTERM" in text(run("cancel", job))

    def test_what_died(self, run: Run) -> None:
        done = run("run", "mine:die")
        assert done.returncode == 1
        assert "SIGKILL" in done.stderr

    def test_wait_times_out(self, run: Run, tmp_path: Path) -> None:
        job = begin_waiting(run, tmp_path)
        assert run("wait", "--timeout", "200ms", job).returncode == 124
        (tmp_path / "go").touch()
        assert run("wait", "--timeout", "1m", job).returncode == 0

    def test_a_gigabyte_of_output(
        self, run: Run, ampacity_command: list[str], tmp_path: Path
    ) -> None:
        status = json.loads(text(run("top", "--once", "--json")))["status"]
        coordinator = psutil.Process(status["pid"])
        job = f"echo begin; head -c {GIGABYTE} /dev/zero; echo end"
        words = [*ampacity_command, "run", "--", "sh", "-c", job]
        with subprocess.Popen(words, stdout=subprocess.PIPE) as running:
            assert running.stdout is not None
            count, most = len(running.stdout.read(1 << 20)), 0
            for _ in range(10):  # a slow reader
                time.sleep(0.1)
                count += len(running.stdout.read(1 << 20))
                reading = psutil.Process(running.pid)
                most = max(most, coordinator.memory_info().rss, reading.memory_info().rss)
            assert running.poll() is None
            while data := running.stdout.read(1 << 20):
                count += len(data)
            assert running.wait(60) == 0
        assert count == GIGABYTE + len("begin\nend\n")
        assert most < 200 << 20
        kept = run("logs", "last").stdout
        assert kept.startswith("begin\n")
        assert kept.endswith("\0end\n")
        assert f"[... {GIGABYTE + 10 - 2 * 65536} bytes are not kept ...]" in kept

    def test_what_is_not_there(self, run: Run) -> None:
        for words in (["job"], ["result"], ["logs"], ["wait"], ["cancel"], ["retry"]):
            assert run(*words, "9999").returncode == 5, words
        assert "there is no job 9999" in run("job", "9999").stderr
        done = run("result", "g99")
        assert done.returncode == 5
        assert "there is no group g99" in done.stderr

    def test_raw_results(self, run: Run) -> None:
        import pickle

        run("submit", "--wait", "mine:simulate", "7")
        words = ["python3", "-c", ""]
        raw = subprocess.run(
            [*_command(run), "result", "--raw", "1"], capture_output=True, timeout=30
        )
        assert pickle.loads(raw.stdout) == {"n": 7, "seed": 0}
        assert words  # a pickle is read by who asked for it, never by the command line

    def test_large_arguments_and_results(self, run: Run, tmp_path: Path) -> None:
        (tmp_path / "case.jsonl").write_text(json.dumps("x" * 3_000_000) + "\n")
        assert text(run("map", "--jsonl", "case.jsonl", "builtins:len")) == "3000000"
        assert len(text(run("run", "operator:mul", '"ab"', "200000"))) == 400_000

    def test_workers_top_and_status(self, run: Run) -> None:
        run("run", "math:sqrt", "4")
        (worker,) = [json.loads(line) for line in text(run("workers", "--json")).splitlines()]
        assert (worker["slots"], worker["local"], worker["finished"]) == (2, True, 1)
        picture = text(run("top", "--once"))
        assert "slots 0/2" in picture
        assert "loop lag p99" in picture
        assert json.loads(text(run("top", "--once", "--json")))["status"]["slots"] == 2
        assert text(run("workers", "reload")).startswith("1 worker: ")
        assert "ok   coordinator" in text(run("doctor"))

    def test_a_changed_module_is_seen(self, run: Run, tmp_path: Path) -> None:
        assert json.loads(text(run("run", "mine:simulate", "1")).splitlines()[-1])["seed"] == 0
        (tmp_path / "mine.py").write_text("def simulate(n):\n    return 'changed'\n")
        assert text(run("run", "mine:simulate", "1")) == "changed"

    def test_the_same_key_is_the_same_job(self, run: Run) -> None:
        first = text(run("submit", "--key", "k", "--wait", "math:sqrt", "4"))
        assert text(run("submit", "--key", "k", "--wait", "math:sqrt", "9")) == first

    def test_another_one_cannot_start(self, run: Run) -> None:
        done = run("up")
        assert done.returncode == 4
        assert "holds" in done.stderr
        assert "Traceback" not in done.stderr
        assert run("up", "--detach").returncode == 4

    def test_the_first_ctrl_c_detaches(
        self, run: Run, ampacity_command: list[str], tmp_path: Path
    ) -> None:
        words = [*ampacity_command, "run", "mine:until", str(tmp_path / "go")]
        with subprocess.Popen(
            words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path
        ) as running:
            assert running.stdout is not None
            assert running.stderr is not None
            assert running.stdout.readline() == "waiting\n"
            running.send_signal(signal.SIGINT)
            assert "again within 3 s cancels" in running.stderr.readline()
            assert "come back with: ampacity logs -f 1; ampacity result 1" in (
                running.stderr.readline()
            )
            assert running.wait(30) == 130
        assert state(run, "1") == "running"
        (tmp_path / "go").touch()
        assert text(run("result", "1")) == "go"

    def test_the_second_ctrl_c_cancels(
        self, run: Run, ampacity_command: list[str], tmp_path: Path
    ) -> None:
        words = [*ampacity_command, "map", "mine:until", ":::", str(tmp_path / "go"), "other"]
        with subprocess.Popen(words, stderr=subprocess.PIPE, text=True, cwd=tmp_path) as running:
            assert running.stderr is not None
            wait_for(lambda: run("job", "2").returncode == 0 and state(run, "2") == "running")
            running.send_signal(signal.SIGINT)
            assert "again within 3 s cancels" in running.stderr.readline()
            running.send_signal(signal.SIGINT)
            assert running.wait(30) == 130
        assert [state(run, job) for job in ("1", "2")] == ["cancelled", "cancelled"]


def test_a_client_of_another_version(run: Run, up: dict[str, Any], tmp_path: Path) -> None:
    words = [sys.executable, "-c", OTHER_VERSION]
    for command in (["jobs"], ["run", "math:sqrt", "4"], ["join", _socket(run)]):
        done = subprocess.run(
            [*words, *command], capture_output=True, text=True, timeout=60, cwd=tmp_path
        )
        assert done.returncode == 4, done.stderr
        assert "speaks version 1, 2 of the protocol" in done.stderr
        assert "install the same ampacity on both" in done.stderr


def test_a_coordinator_of_another_version(run: Run, tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", OTHER_VERSION, "up", "--slots", "1"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        cwd=tmp_path,
    ) as other:
        assert other.stdout is not None
        assert b"is ready" in other.stdout.readline()
        done = run("jobs")
        assert done.returncode == 4
        assert "version 99" in done.stderr
        assert "install the same ampacity on both" in done.stderr
        other.terminate()
        assert other.wait(30) == 0


def _socket(run: Run) -> str:
    status = json.loads(text(run("top", "--once", "--json")))["status"]
    return str(status["listening"][0])


def test_down_says_what_ended_with_it(
    run: Run, ampacity_command: list[str], tmp_path: Path
) -> None:
    assert run("up", "--detach", "--slots", "1", "--ephemeral").returncode == 0
    words = [*ampacity_command, "run", "mine:until", "go"]
    with subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path
    ) as running:
        assert running.stdout is not None
        assert running.stderr is not None
        assert running.stdout.readline() == "waiting\n"
        assert "1 job had not ended, and will not" in run("down").stderr
        assert "the connection to the coordinator is lost" in running.stderr.readline()
        running.send_signal(signal.SIGINT)
        assert "left job 1, whose coordinator cannot be reached" in running.stderr.readline()
        assert "unless it was ephemeral" in running.stderr.readline()
        assert running.wait(30) == 130


def test_of_two_at_once_one_starts(run: Run, ampacity_command: list[str], tmp_path: Path) -> None:
    words = [*ampacity_command, "up", "--slots", "1", "--detach"]
    both = [
        subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    told = [one.communicate(timeout=60)[1] for one in both]
    assert sorted(one.returncode for one in both) == [0, 4], told
    assert sum("holds" in text for text in told) == 1
    assert run("down").returncode == 0


def _command(run: Run) -> list[str]:
    """The words that ``run`` starts with."""
    done = run("--version")
    return [done.args[0]]


def test_up_leaves_nothing_behind(run: Run, access_folder: Path) -> None:
    done = run("up", "--detach", "--slots", "2")
    pid = int(done.stdout.partition("as process ")[2].partition(";")[0])
    children = psutil.Process(pid).children(recursive=True)
    assert children
    assert run("down").returncode == 0
    assert not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    wait_for(lambda: not any(child.is_running() for child in children), 5.0)
    assert not (access_folder / "coordinator.socket").exists()
    assert run("down").returncode == 3


def test_up_in_the_foreground_stops_cleanly(
    ampacity_command: list[str], access_folder: Path
) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        with subprocess.Popen([*ampacity_command, "up"], stdout=subprocess.PIPE) as service:
            assert service.stdout is not None
            assert b"the coordinator is ready" in service.stdout.readline()
            service.send_signal(number)
            assert service.wait(30) == 0


def test_json_logs(ampacity_command: list[str], access_folder: Path, tmp_path: Path) -> None:
    words = [*ampacity_command, "--log-format", "json", "up", "--log-level", "debug"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as service:
        assert service.stdout is not None
        assert service.stderr is not None
        service.stdout.readline()
        service.terminate()
        records = [json.loads(line) for line in service.stderr.read().splitlines()]
    assert all({"time", "level", "logger", "message"} <= record.keys() for record in records)


@pytest.fixture
def coordinator(run: Run, tmp_path: Path) -> Iterator[dict[str, Any]]:
    """A coordinator without slots that listens on a port; what it says when it is ready."""
    words = ["coordinator", "--listen", "tcp:127.0.0.1:0", "--detach", "--tokens", str(tmp_path)]
    done = run(*words, "--ready-file", "ready.json")
    assert done.returncode == 0, done.stderr
    facts: dict[str, Any] = json.loads((tmp_path / "ready.json").read_text())
    assert f"{tmp_path}/worker/token" in done.stdout
    assert "amp1." not in done.stdout
    assert (tmp_path / "ready.json").stat().st_mode & 0o077 == 0
    yield facts
    assert run("down").returncode == 0


class Worker:
    """``ampacity join``, in a process of its own."""

    def __init__(self, words: list[str], state_folder: Path, **environ: str) -> None:
        env = {**os.environ, "AMPACITY_STATE": str(state_folder), **environ}
        self.process = subprocess.Popen(
            words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env
        )
        assert self.process.stdout is not None
        self.joined = self.process.stdout.readline()

    def stop(self) -> int:
        """Its exit code."""
        self.process.terminate()
        self.process.communicate(timeout=30)
        return self.process.returncode


@pytest.fixture
def join(ampacity_command: list[str], tmp_path: Path) -> Iterator[Callable[..., Worker]]:
    """Start workers, each with a state folder of its own, and stop them in the end."""
    workers: list[Worker] = []

    def start(*words: str, name: str, **environ: str) -> Worker:
        command = [*ampacity_command, "join", *words, "--name", name, "--slots", "1"]
        worker = Worker(command, tmp_path / f"state-{name}", **environ)
        workers.append(worker)
        return worker

    yield start
    for worker in workers:
        if worker.process.poll() is None:
            worker.stop()


def test_workers_join_with_one_line(
    run: Run, coordinator: dict[str, Any], join: Callable[..., Worker], tmp_path: Path
) -> None:
    one = join(coordinator["join"], name="one")
    assert one.joined == f"joined {coordinator['address']} as one\n"
    token = coordinator["join"].partition("#")[2]
    assert token not in " ".join(psutil.Process(one.process.pid).cmdline())
    join("--token-file", str(tmp_path / "worker/token"), name="two")
    join(coordinator["address"], name="three", AMPACITY_TOKEN=token)
    done = run("map", "os:getenv", "AMPACITY_TOKEN", ":::", '"nothing"', '"there"')
    assert done.stdout == "nothing\nthere\n"
    names = {json.loads(line)["name"] for line in text(run("workers", "--json")).splitlines()}
    assert names == {"one", "two", "three"}
    assert one.stop() == 0
    again = join(coordinator["address"], name="one")
    assert again.joined == f"joined {coordinator['address']} as one\n"


def test_clients_elsewhere(
    run: Run, coordinator: dict[str, Any], join: Callable[..., Worker], tmp_path: Path
) -> None:
    join(coordinator["join"], name="one")
    nowhere = {**os.environ, "AMPACITY_ACCESS": str(tmp_path / "nowhere")}
    token = ["--token-file", "client/token"]
    assert text(run(*token, "run", "math:sqrt", "4", env=nowhere)) == "2.0"
    named = ["--coordinator", coordinator["address"], *token]
    assert text(run(*named, "run", "math:sqrt", "9", env=nowhere)) == "3.0"
    # jobs are one's own: what another client submitted is not seen
    assert run("jobs", "--json").stdout == ""
    assert len(run(*token, "jobs", "--json", env=nowhere).stdout.splitlines()) == 2


def test_tokens_that_do_not_fit(
    run: Run, coordinator: dict[str, Any], tmp_path: Path, ampacity_command: list[str]
) -> None:
    address, _, token = coordinator["client"].partition("#")
    named = ["--coordinator", address, "--token-file", "some.token"]
    head, tail = token[:-9], token[-9:]
    flipped = head[:-1] + ("A" if head[-1] != "A" else "B") + tail
    (tmp_path / "some.token").touch(0o600)
    (tmp_path / "some.token").write_text(flipped)
    done = run(*named, "jobs")
    assert (done.returncode, "checksum" in done.stderr) == (4, True)
    (tmp_path / "some.token").write_text(coordinator["join"])
    done = run(*named, "jobs")
    assert done.returncode == 4
    done = run("--coordinator", address, "jobs")
    assert done.returncode == 4
    assert "needs a token" in done.stderr
    for refused in (run("join", f"{address}#{flipped}"), run("join", f"{address}#{token}")):
        assert refused.returncode == 4
        assert token[-30:] not in refused.stderr


def test_another_key(run: Run, coordinator: dict[str, Any], tmp_path: Path) -> None:
    other = {
        **os.environ,
        "AMPACITY_STATE": str(tmp_path / "s"),
        "AMPACITY_ACCESS": str(tmp_path / "a"),
    }
    (tmp_path / "other").mkdir()
    words = ["up", "--detach", "--slots", "1", "--listen", "tcp:127.0.0.1:0", "--tokens", "other"]
    assert run(*words, env=other).returncode == 0
    try:
        token = ["--token-file", str(tmp_path / "other/client/token")]
        done = run("--coordinator", coordinator["address"], *token, "jobs")
    finally:
        assert run("down", env=other).returncode == 0
    assert done.returncode == 4
    assert "key is not the one" in done.stderr or "another key" in done.stderr


def test_a_job_that_nobody_can_take_says_so(run: Run, coordinator: dict[str, Any]) -> None:
    done = run("submit", "math:sqrt", "4")
    assert done.stdout == "1\n"
    assert "worker" in done.stderr
    assert "worker" in json.loads(text(run("job", "--json", "1")))["waiting"]
