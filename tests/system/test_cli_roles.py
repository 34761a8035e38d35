"""The four roles at a real coordinator's port, through the command line and a pool."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest

SECRET = "xyzzy-secret"

MODULE = f"""
import sys, time

class Precious:
    def __reduce__(self):
        return (print, ("opened",))
    def __repr__(self):
        return "Precious()"

def precious():
    return Precious()

def fail(word):
    print(word)
    raise ValueError("{SECRET}")

def linger():
    time.sleep(600)
"""

POOL = """
import sys
from ampacity.blocking import Pool
from ampacity import ForeignResult

with Pool.connect(sys.argv[1]) as pool:
    try:
        pool.job(int(sys.argv[2])).result()
    except ForeignResult as error:
        print(error)
"""


@attrs.define
class Someone:
    """A holder of a token; none: the user of the coordinator's machine."""

    run_command: Callable[..., subprocess.CompletedProcess[str]]
    flags: list[str]
    id: str
    line: str = ""

    def __call__(self, *words: str, code: int = 0) -> str:
        """Run a command line; what it printed, or what it complained of."""
        done = self.run_command(*words[:1], *self.flags, *words[1:])
        assert done.returncode == code, (words, done.stdout, done.stderr)
        return done.stdout.strip() if code in (0, 1) else done.stderr.strip()

    def records(self, *words: str, code: int = 0) -> list[Any]:
        return [json.loads(line) for line in self(*words, "--json", code=code).splitlines()]

    def ids(self, *words: str) -> list[int]:
        return [record["id"] for record in self.records("jobs", *words)]


@attrs.define
class People:
    """Whoever comes to one coordinator with two slots; ``one`` has submitted 1 to 3."""

    here: Someone
    one: Someone
    other: Someone
    operator: Someone
    viewer: Someone


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> Iterator[People]:
    folder = tmp_path_factory.mktemp("r")
    (folder / "mine.py").write_text(MODULE)
    access = ["--access", str(folder / "a")]
    program = str(Path(sys.executable).with_name("ampacity"))
    clean = {key: value for key, value in os.environ.items() if not key.startswith("AMPACITY_")}
    clean |= {f"XDG_{name}_HOME": str(folder / name) for name in ("STATE", "CONFIG", "CACHE")}

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [program, *words], capture_output=True, text=True, timeout=60, cwd=folder, env=clean
        )

    here = Someone(run, access, "local")
    state = ["--state", str(folder / "s")]
    here("up", *state, "--detach", "--slots", "2", "--listen", "tcp:127.0.0.1:0")
    try:
        one, other, operator, viewer = (
            _holder(run, here, folder, role, name)
            for role, name in (
                ("client", "one"),
                ("client", "other"),
                ("operator", "op"),
                ("viewer", "see"),
            )
        )
        one("run", "mine:precious")
        one("run", "mine:fail", SECRET, code=1)
        one("submit", "mine:linger")
        yield People(here, one, other, operator, viewer)
    finally:
        here.run_command("down", *access)


def _holder(run: Any, here: Someone, folder: Path, role: str, name: str) -> Someone:
    line = here("token", "create", "--role", role, "--name", name)
    path = folder / f"{name}.token"
    path.touch(0o600)
    path.write_text(line)
    return Someone(run, ["--token-file", str(path)], line.rpartition("#")[2].split(".")[3], line)


def test_a_client_sees_and_touches_its_own_jobs_only(people: People) -> None:
    assert people.one.ids() == [3, 2, 1]
    assert people.other.ids() == []
    for words in (["--everyone"], ["--client", people.one.id]):
        assert "takes a token of the role operator" in people.other("jobs", *words, code=4)
    for command in ("job", "result", "logs", "wait", "cancel", "forget", "retry"):
        others = people.other.run_command(command, *people.other.flags, "1")
        none = people.other.run_command(command, *people.other.flags, "999")
        assert others.returncode == none.returncode == 5
        assert others.stdout.replace("1", "999") == none.stdout
        assert others.stderr.replace("job 1", "job 999") == none.stderr
    assert people.one.records("job", "3")[0]["state"] == "running"


@pytest.mark.parametrize(
    "words",
    [
        ["workers", "drain", "nobody"],
        ["workers", "reload"],
        ["backup", "/nowhere/copy"],
        ["token", "list"],
        ["token", "create", "--role", "client"],
    ],
    ids=" ".join,
)
def test_what_takes_an_operator(people: People, words: list[str]) -> None:
    group = 2 if words[0] in ("workers", "token") else 1
    for someone in (people.one, people.viewer):
        done = someone.run_command(*words[:group], *someone.flags, *words[group:])
        assert done.returncode == 4, (done.stdout, done.stderr)
        assert "takes a token of the role operator" in done.stderr


def test_an_operator_lists_others_jobs_and_names_them(people: People) -> None:
    assert people.operator.ids() == []
    assert people.operator.ids("--everyone") == [3, 2, 1]
    assert people.here.ids("--client", people.one.id) == [3, 2, 1]
    assert people.one.id in people.operator("jobs", "--everyone")
    (job,) = people.operator.records("job", "2")
    assert (job["client"], job["state"]) == (people.one.id, "failed")
    assert people.operator("logs", "2") == SECRET
    assert people.operator("job", "--client", people.one.id, "last").startswith("job          3")


def test_an_operator_is_shown_a_result_and_given_no_pickle(people: People) -> None:
    assert people.operator("result", "1") == "Precious()"
    raw = people.operator.run_command("result", *people.operator.flags, "--raw", "1")
    assert (raw.returncode, raw.stdout) == (4, "")
    assert "ampacity result 1 shows it" in raw.stderr
    done = subprocess.run(
        [sys.executable, "-c", POOL, people.operator.line, "1"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert "ampacity result 1 shows it" in done.stdout
    assert "opened" not in done.stdout


def test_top_shows_an_operator_everyones_jobs(people: People) -> None:
    for someone, seen in (
        (people.here, [3]),
        (people.operator, [3]),
        (people.viewer, [3]),
        (people.one, [3]),
        (people.other, []),
    ):
        (picture,) = someone.records("top", "--once")
        assert [job["id"] for job in picture["running"]] == seen


def test_a_viewer_sees_states(people: People) -> None:
    assert people.viewer.ids() == [3, 2, 1]
    (job,) = people.viewer.records("job", "2")
    assert (job["state"], job["client"]) == ("failed", people.one.id)
    shown = [
        people.viewer("jobs"),
        people.viewer("job", "1", "2", "3"),
        people.viewer("job", "all", "--json"),
        people.viewer("workers"),
        people.viewer("top", "--once"),
    ]
    assert not any(SECRET in text for text in shown)
    for line in (
        "result 1", "logs 1", "wait 1", "cancel 3", "retry 2", "forget 1",
        "run math:sqrt 4", "submit math:sqrt 4",
    ):  # fmt: skip
        assert "a viewer may not ask" in people.viewer(*line.split(), code=4)


def test_an_operator_runs_again_cancels_and_forgets_others_jobs(people: People) -> None:
    assert people.operator("retry", "2") == "job 2 runs again as 4"
    people.one("wait", "4", code=1)
    (job,) = people.one.records("job", "4")
    assert (job["client"], job["retry_of"]) == (people.one.id, 2)
    assert "SIGINT was enough" in people.operator("cancel", "3")
    assert people.one.records("job", "3")[0]["state"] == "cancelled"
    people.operator("forget", "--client", people.one.id, "4")
    assert people.one.ids() == [3, 2, 1]
    # a child was replaced, which this test would leave behind
    assert "a viewer may not ask" in people.viewer("down", code=4)
    done = people.operator.run_command("down", *people.operator.flags)
    assert done.returncode == 0
    assert "the coordinator is stopping" in done.stderr
    people.here.run_command("down", *people.here.flags)  # and is waited for
