"""Tokens among words and in the environment."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from ampacity.cli import secrecy
from ampacity.cli.settings import Settings, read_file
from ampacity.protocol.errors import InsecureFolder

TOKEN = "amp1.worker." + "k" * 43 + ".idididid." + "s" * 43 + ".checksum"


class StartedAnewError(Exception):
    """In the place of ``execv``."""


@pytest.fixture
def anew(monkeypatch: pytest.MonkeyPatch) -> None:
    def execv(path: str, words: list[str]) -> None:
        assert words[:4] == [sys.executable, "-P", "-m", "ampacity.cli.entry"]
        place = words.index("--token-fd")
        fd = int(words[place + 1])
        assert os.get_inheritable(fd)
        words[place + 1] = secrecy.read_token(fd)
        raise StartedAnewError(words[4:])

    monkeypatch.setattr(os, "execv", execv)


@pytest.mark.usefixtures("anew")
@pytest.mark.parametrize(
    ("words", "left"),
    [
        (["join", f"host:8786#{TOKEN}"], ["join", "--token-fd", TOKEN, "host:8786"]),
        (["join", "h", "--slots", "1", TOKEN], ["join", "h", "--slots", "1", "--token-fd", TOKEN]),
        (["join", TOKEN], ["join", "--token-fd", TOKEN]),
        (["join", f"#{TOKEN}"], ["join", "--token-fd", TOKEN]),
        (["join", "host#damaged"], ["join", "--token-fd", "damaged", "host"]),
        (
            ["join", "--coordinator", f"host#{TOKEN}"],
            ["join", "--coordinator", "--token-fd", TOKEN, "host"],
        ),
        (
            ["--log-level", "debug", "join", f"host#{TOKEN}"],
            ["--log-level", "debug", "join", "--token-fd", TOKEN, "host"],
        ),
    ],
)  # fmt: skip
def test_a_token_goes_into_a_pipe(words: list[str], left: list[str]) -> None:
    with pytest.raises(StartedAnewError) as started:
        secrecy.without_token(words)
    assert started.value.args[0] == left


@pytest.mark.usefixtures("anew")
@pytest.mark.parametrize(
    "words",
    [
        [],
        ["join", "host:8786"],
        ["join", "--name", "rack#7", "host"],
        ["join", "--name=rack#7", "host"],
        ["join", "host#"],
        ["run", "module:join", "a#b"],
        ["run", "--", "join", "a#b"],
    ],
)
def test_words_without_one_stay(words: list[str]) -> None:
    assert secrecy.without_token(words) == words


def test_the_environment_is_wiped_where_it_lies() -> None:
    program = (
        "from ampacity.cli.secrecy import forget_tokens\n"
        "import os\n"
        "forget_tokens()\n"
        "print(sorted(name for name in os.environ if name.startswith('AMPACITY')))\n"
        "print(b'sssss' in open('/proc/self/environ', 'rb').read())\n"
    )
    if not Path("/proc/self/environ").exists():
        pytest.skip("no /proc here")
    given = {
        "AMPACITY_TOKEN": TOKEN,
        "AMPACITY_COORDINATOR": f"host#{TOKEN}",
        "AMPACITY_ELSEWHERE": f"x{TOKEN}",
        "AMPACITY_TOKEN_FILE": "/some/file",
        "AMPACITY_NAME": "rack#7",
    }
    done = subprocess.run(
        [sys.executable, "-c", program], env={**os.environ, **given}, capture_output=True, text=True
    )
    assert done.stdout == "['AMPACITY_NAME', 'AMPACITY_TOKEN_FILE']\nFalse\n", done.stderr


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="Linux has prctl")
def test_no_core_is_dumped_and_what_is_executed_is_as_ever() -> None:
    asks = "import ctypes; print(ctypes.CDLL(None).prctl(3, 0, 0, 0, 0))"
    program = (
        "import subprocess, sys\n"
        "from ampacity.cli.secrecy import keep_memory_private\n"
        f"keep_memory_private(); {asks}; sys.stdout.flush()\n"
        f"subprocess.run([sys.executable, '-c', {asks!r}])\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout == "0\n1\n", done.stderr


def test_settings_show_no_token() -> None:
    environ = {"AMPACITY_COORDINATOR": f"host#{TOKEN}", "AMPACITY_TOKEN": TOKEN}
    shown = [found.shown() for found in Settings({}, environ, Path("/none")).all()]
    assert TOKEN not in " ".join(shown)
    assert "host#(hidden)" in shown


@pytest.mark.parametrize("line", [f'token = "{TOKEN}"', f'coordinator = "host#{TOKEN}"'])
def test_a_file_of_settings_with_a_token_is_its_owners_alone(tmp_path: Path, line: str) -> None:
    file = tmp_path / "config.toml"
    file.write_text(line)
    file.chmod(0o600)
    assert read_file(file)
    file.chmod(0o644)
    with pytest.raises(InsecureFolder, match="chmod 600") as caught:
        read_file(file)
    assert TOKEN not in str(caught.value)
    file.write_text('coordinator = "host"')
    assert read_file(file) == {"coordinator": "host"}
