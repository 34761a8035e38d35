"""``ampacity token`` against a coordinator of its own."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import attrs
import pytest
from ampacity.protocol.addresses import parse_address


@attrs.frozen
class Shell:
    """Command lines in a folder of the test's own."""

    words: list[str]
    folder: Path

    def __call__(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*self.words, *words], capture_output=True, text=True, timeout=90, cwd=self.folder
        )

    def json(self, *words: str) -> list[dict[str, Any]]:
        done = self(*words, "--json")
        assert done.returncode == 0, done
        return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.fixture
def shell(ampacity_command: list[str], access_folder: Path, tmp_path: Path) -> Iterator[Shell]:
    shell = Shell(ampacity_command, tmp_path)
    yield shell
    shell("down")


def up(shell: Shell, *words: str) -> None:
    done = shell("up", "--detach", "--slots", "1", *words)
    assert done.returncode == 0, done


def test_create_list_and_revoke(shell: Shell) -> None:
    up(shell, "--listen", "tcp:127.0.0.1:0")
    made = shell("token", "create", "--role", "client", "--name", "ci\x1b[31m", "--expires", "2h")
    (line,) = made.stdout.splitlines()
    token = parse_address(line).token
    assert token is not None
    assert token.role == "client"
    assert token.id in made.stderr
    assert "may run any code on every worker; that includes this machine, as user" in made.stderr
    assert "good for 2 h" in made.stderr

    (listed,) = [one for one in shell.json("token", "list") if one["id"] == token.id]
    assert (listed["role"], listed["use"], listed["name"]) == ("client", "own", "ci\x1b[31m")
    expires = datetime.fromisoformat(listed["expires"]).timestamp()
    assert 7100 < expires - time.time() < 7201
    table = shell("token", "list").stdout
    assert "\x1b" not in table
    assert token.id in table
    for text in (table, json.dumps(shell.json("token", "list"))):
        assert line.split(".")[-2] not in text

    (shell.folder / "line").write_text(line)
    (shell.folder / "line").chmod(0o600)
    mine = ("--token-file", "line", "run", "math:factorial", "5")
    assert shell(*mine).stdout == "120\n"
    assert shell("--token-file", "line", "token", "list").returncode == 4

    revoked = shell("token", "revoke", token.id[:7])
    assert revoked.stdout == f"revoked {token.id}\n"
    assert shell(*mine).returncode == 4
    again = shell("token", "revoke", token.id)
    assert again.returncode == 5
    assert "ampacity token list" in again.stderr


def test_what_each_role_may_is_said(shell: Shell) -> None:
    up(shell, "--listen", "tcp:127.0.0.1:0")
    said = {
        role: shell("token", "create", "--role", role, "--expires", "never").stderr
        for role in ("worker", "client", "operator", "viewer")
    }
    assert "jobs run there as their user" in said["worker"]
    assert "this machine" in said["operator"]
    assert "no arguments, no results" in said["viewer"]
    assert all("good until it is revoked" in text for text in said.values())
    never = [one for one in shell.json("token", "list") if one["expires"] is None]
    assert {(one["role"], one["use"]) for one in never} == {
        ("worker", "join"),
        ("client", "own"),
        ("operator", "own"),
        ("viewer", "own"),
    }


def test_where_nothing_listens(shell: Shell) -> None:
    up(shell)
    for words in (("create", "--role", "worker"), ("list",), ("revoke", "abc")):
        done = shell("token", *words)
        assert done.returncode == 4
        assert "--listen" in done.stderr


@pytest.mark.parametrize(
    "words",
    [
        ("create",),
        ("create", "--role", "king"),
        ("create", "--role", "client", "--expires", "soon"),
        ("create", "--role", "client", "--expires", "0"),
        ("revoke",),
    ],
)
def test_usage(shell: Shell, words: tuple[str, ...]) -> None:
    assert shell("token", *words).returncode == 2
