"""The command line with no coordinator running: jobs run on a pool of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def run(ampacity_command: list[str], access_folder: Path, tmp_path: Path) -> Run:
    """Run one command line in a folder of the test's own."""

    def run_command(*words: str, **options: object) -> subprocess.CompletedProcess[str]:
        options.setdefault("cwd", tmp_path)
        return subprocess.run(  # type: ignore[no-any-return, call-overload]
            [*ampacity_command, *words], capture_output=True, text=True, timeout=60, **options
        )

    return run_command


@pytest.mark.alone
def test_the_version_is_there_at_once(run: Run) -> None:
    times = []
    for _ in range(5):
        began = time.perf_counter()
        assert run("--version").stdout.startswith("ampacity ")
        times.append(time.perf_counter() - began)
    assert min(times) < 0.15


def test_help_does_not_import_twisted(run: Run) -> None:
    code = (
        "import sys; from ampacity.cli.entry import main; main(['map', '--help']);"
        "assert not any(m.split('.')[0] in ('twisted', 'rich') for m in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "Examples:" in done.stdout


def test_a_function(run: Run) -> None:
    done = run("run", "math:factorial", "20")
    assert (done.stdout, done.stderr, done.returncode) == ("2432902008176640000\n", "", 0)


def test_a_negative_number_is_an_argument(run: Run) -> None:
    assert run("run", "math:fabs", "-5").stdout == "5.0\n"


def test_an_integer_of_any_size(run: Run) -> None:
    assert run("run", "math:isqrt", str(10**40)).stdout == f"{10**20}\n"


def test_a_command_is_streamed_and_exits_as_it_does(run: Run) -> None:
    done = run("run", "--", "sh", "-c", "echo hello; echo complaint >&2; exit 3")
    assert (done.stdout, done.stderr, done.returncode) == ("hello\n", "complaint\n", 3)


def test_output_comes_while_the_job_runs(
    ampacity_command: list[str], access_folder: Path, tmp_path: Path
) -> None:
    words = ["run", "--", "sh", "-c", "echo first; while ! test -e go; do sleep 0.05; done"]
    with subprocess.Popen(
        [*ampacity_command, *words], stdout=subprocess.PIPE, cwd=tmp_path
    ) as running:
        assert running.stdout is not None
        assert running.stdout.readline() == b"first\n"
        (tmp_path / "go").touch()
        assert running.wait(30) == 0


def test_bytes_arrive_as_they_are(ampacity_command: list[str], access_folder: Path) -> None:
    data = bytes(range(256)) * 4096
    code = f"import sys; sys.stdout.buffer.write(bytes(range(256)) * {len(data) // 256})"
    words = [*ampacity_command, "run", "--", sys.executable, "-c", code]
    done = subprocess.run(words, capture_output=True, timeout=60)
    assert done.stdout == data


def test_a_signal(run: Run) -> None:
    assert run("run", "--", "sh", "-c", "kill -9 $$").returncode == 128 + 9


def test_a_command_that_is_not_there(run: Run) -> None:
    done = run("run", "--", "no-such-command")
    assert done.returncode == 127
    assert "no-such-command: command not found" in done.stderr


def test_our_own_failure_is_125(run: Run, tmp_path: Path) -> None:
    done = run("--coordinator", "127.0.0.1:1", "--token-file", "none", "run", "--", "true")
    assert done.returncode == 125
    assert "none cannot be read" in done.stderr


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["nosuch:f"], "there is no module 'nosuch' on worker"),
        (["math:nosuch"], "math has no 'nosuch'"),
        (["math:pi"], "math:pi is a float, which cannot be called"),
        (["math:factorial", "1", "2"], "takes exactly one argument (2 given)"),
        (["math:sqrt", "-1"], "ValueError: math domain error"),
    ],
)
def test_functions_that_fail(run: Run, words: list[str], told: str) -> None:
    done = run("run", *words)
    assert told in done.stderr
    assert (done.stdout, done.returncode) == ("", 1)


def test_a_missing_module_is_told_with_where_it_was_tried(run: Run) -> None:
    told = run("run", "nosuch:f").stderr
    assert sys.executable.rpartition("/")[0] in told
    assert "sys.path" in told


def test_a_time_out(run: Run) -> None:
    done = run("run", "--timeout", "0.5", "time:sleep", "60")
    assert done.returncode == 1
    assert "timed out; SIGINT was enough" in done.stderr


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["run"], "what shall run?"),
        (["run", "math"], "a function is written module:function"),
        (["run", "--timeout", "soon", "m:f"], "a duration is written like"),
        (["run", "--kw", "seed", "m:f"], "--kw takes name=value"),
        (["run", "--args", "json", "m:f", "x"], "'x' is not JSON"),
        (["run", "--env", "NO_SUCH_ONE", "m:f"], "there is no such variable here"),
        (["run", "--slots", "0", "m:f"], "without a slot nothing can run"),
        (["run", "--ship", "nosuch", "m:f"], "--ship nosuch: it cannot be imported here"),
        (["map", "m:f", ":::", "a", ":::", "b"], "second ':::'"),
        (["map", "--star", "--", "echo", ":::", "a"], "this is a command"),
        (["map", "--jsonl", "none", "m:f"], "--jsonl none: it cannot be read"),
        (["rnu", "m:f"], "did you mean run"),
        (["math:factorial", "5"], "did you mean: ampacity run math:factorial"),
        (["jobs", "--state", "odd"], "'odd' is not one of"),
        (["cancel"], "name the jobs"),
        (["result", "7-3"], "did you mean 3-7"),
        (["join"], "Paste the line that the coordinator printed"),
        (["--coordinator", "a b", "jobs"], "is no host"),
        (["--coordinator", "host:1#amp1.x", "jobs"], "put it in a file"),
        (["up", "--reactor", "steam"], "there is no reactor 'steam'"),
        (["up", "--listen", "tcp:here"], "names no port"),
        (["up", "--tokens", "."], "nobody needs a token without --listen"),
    ],
)
def test_usage(run: Run, words: list[str], told: str) -> None:
    done = run(*words)
    assert told in done.stderr
    assert (done.stdout, done.returncode) == ("", 2)


def test_an_interpreter_without_ampacity(run: Run, tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nexec {sys.executable} -I -S "$@"\n')
    python.chmod(0o755)
    done = run("run", "--python", str(python), "math:sqrt", "4")
    assert f"install it there: {python} -m pip install ampacity" in done.stderr
    assert done.returncode == 2


def test_map_prints_a_line_an_item_in_order(run: Run) -> None:
    done = run("map", "time:sleep", ":::", "0.3", "0.1", "0")
    assert (done.stdout, done.returncode) == ("null\n" * 3, 0)
    done = run("map", "math:factorial", ":::", "5", "10", "20")
    assert done.stdout.split() == ["120", "3628800", "2432902008176640000"]


def test_fixed_arguments_come_before_the_item(run: Run) -> None:
    assert run("map", "math:pow", "2", ":::", "3", "4").stdout == "8.0\n16.0\n"


def test_failures_of_a_map(run: Run) -> None:
    done = run("map", "math:sqrt", ":::", "4", "-1", "x", "9")
    assert (done.stdout, done.returncode) == ("2.0\n3.0\n", 1)
    assert "item 1 (-1), job 2: ValueError: math domain error" in done.stderr
    assert "4 items: 2 done, 2 failed" in done.stderr


def test_map_as_json(run: Run) -> None:
    done = run("map", "--json", "math:sqrt", input="4\n-1\n")
    first, second = map(json.loads, done.stdout.splitlines())
    assert first == {"index": 0, "item": 4, "id": 1, "outcome": "succeeded", "value": 2.0}
    assert second["outcome"] == "failed"
    assert second["error"]["type"] == "ValueError"


def test_map_of_json_lines_spread(run: Run, tmp_path: Path) -> None:
    (tmp_path / "cases.jsonl").write_text('[2, 5]\n\n{"x": 2, "y": 6}\n')
    (tmp_path / "mine.py").write_text("def power(x, y): return x**y\n")
    done = run("map", "--jsonl", "cases.jsonl", "--star", "mine:power")
    assert (done.stdout, done.stderr) == ("32\n64\n", "")


def test_a_line_that_is_no_json(run: Run, tmp_path: Path) -> None:
    (tmp_path / "cases.jsonl").write_text("4\n9\nnine\n16\n")
    done = run("map", "--jsonl", "cases.jsonl", "math:sqrt")
    assert (done.stdout, done.returncode) == ("2.0\n3.0\n", 2)
    assert "line 3 of cases.jsonl is not JSON: 'nine'" in done.stderr


def test_a_command_an_item(run: Run) -> None:
    done = run("map", "--", "echo", "{}", "{.}", "{/}", ":::", "a/b.c", "$(id)")
    assert done.stdout == "a/b.c a/b b.c\n$(id) $(id) $(id)\n"


def test_an_empty_map(run: Run) -> None:
    done = run("map", "math:sqrt", ":::")
    assert (done.stdout, done.returncode) == ("", 0)
    assert done.stderr == "ampacity: there were no items\n"


def test_an_endless_input(ampacity_command: list[str], access_folder: Path) -> None:
    """Lines come as they are known, and the end of who reads them ends it all."""
    endless = subprocess.Popen(["yes", "4"], stdout=subprocess.PIPE)
    words = [*ampacity_command, "map", "math:sqrt"]
    with subprocess.Popen(
        words, stdin=endless.stdout, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as mapping:
        assert mapping.stdout is not None
        assert mapping.stderr is not None
        assert [mapping.stdout.readline() for _ in range(3)] == [b"2.0\n"] * 3
        mapping.stdout.close()
        assert mapping.wait(30) == 128 + signal.SIGPIPE
        assert mapping.stderr.read() == b""
    assert endless.stdout is not None
    endless.stdout.close()
    endless.kill()
    endless.wait()


def test_ctrl_c_on_a_pool_of_our_own_cancels(
    ampacity_command: list[str], access_folder: Path, tmp_path: Path
) -> None:
    code = "import time; print('runs', flush=True); time.sleep(60)"
    words = [*ampacity_command, "run", "--", sys.executable, "-c", code]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as running:
        assert running.stdout is not None
        assert running.stdout.readline() == b"runs\n"
        running.send_signal(signal.SIGINT)
        assert running.wait(30) == 130


def test_a_progress_bar_where_it_is_wanted(run: Run) -> None:
    done = run("map", "--progress", "math:sqrt", ":::", "4", "9")
    assert done.stdout == "2.0\n3.0\n"
    assert "2/2" in done.stderr
    assert run("map", "math:sqrt", ":::", "4").stderr == ""


def test_a_shipped_module(run: Run, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("def twice(x): return 2 * x\n")
    done = run("run", "--cwd", "/", "--ship", "mine", "mine:twice", "4")
    assert (done.stdout, done.stderr) == ("8\n", "")


def test_what_is_no_json_is_shown_harmless(run: Run, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "class Thing:\n    def __repr__(self): return 'a\\x1b[31mThing'\n"
        "def text(): return 'two\\nlines'\n"
    )
    assert run("run", "mine:Thing").stdout == "a\\x1b[31mThing\n"
    assert run("run", "mine:text").stdout == "two\nlines\n"
    assert run("map", "--", "printf", "a\\nb\\n", ":::", "1").stdout == "a\nb\n"
    assert json.loads(run("run", "--json", "mine:Thing").stdout)["type"].endswith("Thing")


def test_the_environment_and_the_folder_of_a_job(run: Run, tmp_path: Path) -> None:
    code = "import os; print(os.getcwd(), os.environ['A'], os.environ['AMPACITY_JOB_ID'])"
    done = run("run", "--env", "A=b", "--", sys.executable, "-c", code)
    assert done.stdout == f"{os.path.realpath(tmp_path)} b 1\n"


def test_config_shows_sources_and_hides_secrets(run: Run) -> None:
    env = {**os.environ, "AMPACITY_SLOTS": "3", "AMPACITY_TOKEN": "very-secret"}
    done = run("--json", "config", env=env)
    assert "very-secret" not in done.stdout + done.stderr
    rows = {row["setting"]: row for row in map(json.loads, done.stdout.splitlines())}
    assert rows["slots"] == {
        "setting": "slots",
        "value": 3,
        "source": "AMPACITY_SLOTS",
        "variable": "AMPACITY_SLOTS",
    }
    assert rows["token"]["value"] == "(hidden)"


def test_completion(run: Run) -> None:
    assert "_AMPACITY_COMPLETE" in run("completion", "bash").stdout
    env = {**os.environ, "_AMPACITY_COMPLETE": "bash_complete", "COMP_WORDS": "ampacity re"}
    done = run(env={**env, "COMP_CWORD": "1"})
    assert done.stdout.split() == ["plain,result", "plain,retry"]


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_completion_in_other_shells(run: Run, shell: str) -> None:
    script = run("completion", shell).stdout
    assert f"{shell}_complete" in script
    words = {"COMP_WORDS": "ampacity map --jso", "COMP_CWORD": {"zsh": "2"}.get(shell, "--jso")}
    done = run(env={**os.environ, "_AMPACITY_COMPLETE": f"{shell}_complete", **words})
    assert "--jsonl" in done.stdout, done.stderr


@pytest.mark.parametrize("words", ["run m:f --ti", "map -- ls --ti", "map m:f ::: --ti"])
def test_after_the_target_the_words_are_no_options(run: Run, words: str) -> None:
    count = len(words.split())
    env = {**os.environ, "COMP_WORDS": f"ampacity {words}", "COMP_CWORD": str(count)}
    done = run(env={**env, "_AMPACITY_COMPLETE": "bash_complete"})
    assert done.stdout == "file,--ti\n"


def test_help_is_a_command_for_who_types_it(run: Run) -> None:
    assert run("help").stdout == run("--help").stdout
    done = run("help", "map")
    assert (done.returncode, done.stdout) == (0, run("map", "--help").stdout)


def test_options_that_went_to_the_job(run: Run) -> None:
    done = run("run", "math:factorial", "--timeout", "3")
    assert done.returncode == 1
    assert "--timeout is an option of ampacity run, but after the target" in done.stderr
    done = run("map", "math:sqrt", "--json", ":::", "4")
    assert "--json is an option of ampacity map" in done.stderr
    assert "is an option of" not in run("run", "math:factorial", "x").stderr


def test_who_reads_our_output_may_leave(run: Run, ampacity_command: list[str]) -> None:
    words = [*ampacity_command, "map", "math:sqrt", ":::", *map(str, range(20_000))]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as running:
        assert running.stdout is not None
        assert running.stderr is not None
        assert running.stdout.readline() == b"0.0\n"
        running.stdout.close()
        assert running.stderr.read() == b""
        assert running.wait(30) == 141


@pytest.mark.parametrize(
    "words",
    [
        ["jobs"],
        ["submit", "math:sqrt", "4"],
        ["result", "1"],
        ["map", "--detach", "m:f", ":::", "1"],
    ],
)
def test_no_coordinator(run: Run, words: list[str]) -> None:
    done = run(*words, env={**os.environ, "AMPACITY_PATIENCE": "0.3"})
    assert done.returncode == 3
    assert "no coordinator answers" in done.stderr
    assert "ampacity up" in done.stderr


def test_down_without_a_coordinator(run: Run) -> None:
    done = run("down")
    assert done.returncode == 3
    assert "no coordinator runs here" in done.stderr


def test_doctor(run: Run) -> None:
    done = run("doctor")
    assert done.returncode == 0
    assert "nobody holds it" in done.stdout


def test_a_dead_address_is_tried_for_a_while(run: Run) -> None:
    began = time.monotonic()
    token = "amp1.client." + "A" * 43
    env = {**os.environ, "AMPACITY_PATIENCE": "1s"}
    done = run("--coordinator", "unix:/nowhere/socket", "run", "math:sqrt", "4", env=env)
    assert time.monotonic() - began > 0.8
    assert done.returncode == 3
    assert "no coordinator answers at unix:/nowhere/socket" in done.stderr
    assert token not in done.stderr


def test_a_damaged_token(run: Run, tmp_path: Path) -> None:
    (tmp_path / "bad.token").touch(0o600)
    (tmp_path / "bad.token").write_text("amp1.client.half")
    done = run("--coordinator", "localhost", "--token-file", "bad.token", "jobs")
    assert done.returncode == 4
    assert "bad.token: this is not a whole token" in done.stderr
    assert "half" not in done.stderr


def test_a_folder_that_others_can_read(run: Run, access_folder: Path) -> None:
    access_folder.chmod(0o755)
    done = run("up")
    assert done.returncode == 4
    assert f"chmod 700 {access_folder}" in done.stderr
