"""Terminals in pages: what is typed after a prompt, and what comes then, from real runs.

``<!-- session: NAME -->`` stands before each block ``console`` of a session; a page's blocks of one
name are played in order. ``$ `` is the prompt of a terminal, ``ada$ `` that of one on another
machine, which has a home with an access and a state folder, and a host name of its own (its
processes are in a namespace for that, which takes root; ``can_have_machines`` tells). All listen on
the loopback interface, on ports that are free, and pages say ``ada:8786`` for that. In a block with
the note ``(stays)`` the last command goes on running, once as many lines as are shown have been
printed; ``^C`` after that machine's prompt interrupts it. With ``(in any order)`` the lines of an
output may come so. A shown line ``…`` stands for any lines, and ``…`` in a line for any words.

What differs from run to run (times, tokens, ports, sizes) is the same for ``blur``. Where a page
shows such a word and a later command repeats it, the word of this run is put in its place.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from pathlib import Path

import attrs
from ampacity.tests.docs import shown

_BLOCK = re.compile(
    r"<!-- session: (?P<name>[^(\n]+?)(?: \((?P<notes>[^)\n]*)\))? -->\n"
    r"```console\n(?P<text>.*?)```",
    re.S,
)
_TYPED = re.compile(
    r"^(?P<machine>\w*)\$ (?P<command>(?:.*\\\n)*.*)\n(?P<printed>(?:(?!\w*\$ ).*\n)*)", re.M
)

REPEATED = (
    r"amp1\.\w+\.[\w.-]+",  # a token
    r"(?<=token )[\w-]{11}(?=,)|(?<=revoked )[\w-]{11}",
    r"^[\w-]{11}(?= +(?:worker|client|operator|viewer)\b)",
    r"[\w-]{11}(?= +\d+ +\d\d:\d\d:\d\d)",  # in a list: the token that somebody joined by
    r"(?<=process )\d+",
)
"""What a reader copies from what was printed into what is typed."""

DIFFERENT = (
    r"\d{4}-\d\d-\d\d( \d\d:\d\d:\d\d)?|\b\d\d:\d\d:\d\d",
    r"\b\d+(\.\d+)?( \d+ [ms])* (µs|ms|s|m|min|h|d)\b( \d+ [ms]\b)*",
    r"\b\d+(\.\d+)? ([KMGT]i)?B\b",
    r"\b\d+%",
    r"\b\d+(\.\d+)? jobs/s",
    r"[█▓▒░]+",
    r"─+",
)
"""What else differs from run to run."""

_NOBODY = "you"
"""The home where no machine has a name."""

SHOW_SECONDS = 120.0
"""How long what is shown may take to be printed."""


def blur(text: str) -> str:
    """The text without what differs from run to run, and without its columns' widths."""
    for pattern in (*REPEATED, *DIFFERENT):
        text = re.sub(pattern, "*", text, flags=re.M)
    lines = (" ".join(line.split()) for line in text.rstrip().split("\n"))
    # a row of such words is one: a worker that has just come has no figures yet
    return re.sub(r"\*( \*)+", "*", "\n".join(lines))


@attrs.frozen
class Typed:
    """A command, the machine at which it is typed, and what the page shows of its output."""

    machine: str
    command: str
    printed: str
    stays: bool
    any_order: bool = False


@attrs.frozen
class Session:
    """What a page shows of one session: its blocks, in order."""

    page: Path
    name: str
    blocks: tuple[tuple[str, tuple[Typed, ...]], ...]

    def __str__(self) -> str:
        return f"{self.page.stem}-{self.name}"

    @property
    def has_machines(self) -> bool:
        return any(typed.machine for _, block in self.blocks for typed in block)


@cache
def can_have_machines() -> bool:
    """Whether a process can be given another host name here."""
    if shutil.which("unshare") is None:
        return False
    words = ["unshare", "--uts", "hostname", "ada"]
    return subprocess.run(words, check=False, capture_output=True).returncode == 0


@cache
def can_be_nobody() -> bool:
    """Whether processes can be the user nobody's here, with this interpreter."""
    if os.geteuid() != 0:
        return False
    words = [sys.executable, "-c", "import ampacity.workers.child"]
    try:
        run = subprocess.run(words, check=False, capture_output=True, user="nobody", cwd="/")
    except PermissionError:
        return False
    return run.returncode == 0


def sessions(pages: Iterable[Path]) -> list[Session]:
    """All sessions of these pages."""
    found: dict[tuple[Path, str], list[tuple[str, tuple[Typed, ...]]]] = {}
    for page in pages:
        for block in _BLOCK.finditer(page.read_text()):
            lines = _commands(block["text"], block["notes"] or "")
            found.setdefault((page, block["name"]), []).append((block["text"], lines))
    return [Session(page, name, tuple(blocks)) for (page, name), blocks in found.items()]


def _commands(text: str, notes: str) -> tuple[Typed, ...]:
    found = list(_TYPED.finditer(text))
    assert sum(len(each[0]) for each in found) == len(text), f"no prompt comes first:\n{text}"
    return tuple(
        Typed(
            machine=each["machine"],
            command=each["command"],
            printed=each["printed"],
            stays="stays" in notes and each is found[-1],
            any_order="in any order" in notes,
        )
        for each in found
    )


def unaccounted(page: Path) -> list[str]:
    """The blocks ``console`` that belong to no session, by their first lines."""
    text = page.read_text()
    said = {found.start("text") for found in _BLOCK.finditer(text)}
    blocks = re.finditer(r"^```console\n(?P<text>.*?)```", text, re.S | re.M)
    return [b["text"].partition("\n")[0] for b in blocks if b.start("text") not in said]


@attrs.define
class Terminals:
    """Plays sessions, in folders below one folder (its path has to be short: sockets are there)."""

    folder: Path
    fill: Callable[[Path], object]  # puts there what a machine's home holds at first
    names: Mapping[str, str] = attrs.field(factory=dict)  # how a page calls what is called so here
    _homes: dict[str, Path] = attrs.field(init=False, factory=dict)
    _staying: dict[str, tuple[subprocess.Popen[str], Path]] = attrs.field(init=False, factory=dict)
    _now: dict[str, str] = attrs.field(init=False, factory=dict)  # a page's word -> this run's
    _places: dict[str, str] = attrs.field(init=False)  # the same of what is listened on

    def __attrs_post_init__(self) -> None:
        # a port that is free, in the place of the one that all pages show
        self._places = {"tcp:8786": "tcp:127.0.0.1:0"}

    def play(self, session: Session) -> None:
        """Type all commands of a session; fail where something else is printed than shown."""
        for text, block in session.blocks:
            played = [(typed, self._type(typed)) for typed in block]
            if shown.WRITING:
                self._rewrite(session.page, text, played)
                continue
            for typed, printed in played:
                if not fits(printed, typed):
                    wanted, seen = blur(typed.printed), blur(printed)
                    raise AssertionError(shown.difference(typed.command, wanted, seen))

    def close(self) -> None:
        """End what still runs in a terminal, or was detached from one."""
        for machine, home in self._homes.items():
            if any(home.glob("run/*/coordinator.socket")):
                self._run(Typed(machine=machine, command="ampacity down", printed="", stays=False))
        for process, _ in self._staying.values():
            process.send_signal(signal.SIGINT)
        for process, _ in self._staying.values():
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    # -- typing -------------------------------------------------------------------------------

    def _type(self, typed: Typed) -> str:
        if typed.command == "^C":
            return self._interrupt(typed)
        printed = self._stay(typed) if typed.stays else self._run(typed)
        return self._called(typed, printed)

    def _run(self, typed: Typed) -> str:
        ended = subprocess.run(
            [*self._host(typed.machine), "bash", "-c", self._meant(typed)],
            cwd=self._home(typed.machine),
            env=self._environ(typed.machine),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=SHOW_SECONDS,
            check=False,
        )
        return ended.stdout

    def _stay(self, typed: Typed) -> str:
        """Begin a command; its output, once as much has come as is shown (its log is not)."""
        log = Path(tempfile.mkstemp(suffix=".log", dir=self.folder)[1])
        with log.open("w") as out, (self.folder / "errors").open("a") as errors:
            process = subprocess.Popen(
                [*self._host(typed.machine), "bash", "-c", f"exec {self._meant(typed)}"],
                cwd=self._home(typed.machine),
                env=self._environ(typed.machine),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=errors,
                text=True,
            )
        self._staying[typed.machine] = process, log
        wanted = max(1, len(typed.printed.splitlines()))
        deadline = time.monotonic() + SHOW_SECONDS
        while log.read_text().count("\n") < wanted and process.poll() is None:
            assert time.monotonic() < deadline, f"{typed.command} has printed:\n{log.read_text()}"
            time.sleep(0.02)
        return "".join(log.read_text().splitlines(keepends=True)[:wanted])

    def _interrupt(self, typed: Typed) -> str:
        process, log = self._staying.pop(typed.machine)
        before = len(log.read_text())
        process.send_signal(signal.SIGINT)
        process.wait(SHOW_SECONDS)
        return self._called(typed, log.read_text()[before:])

    # -- places and names -----------------------------------------------------------------------

    def _environ(self, machine: str) -> dict[str, str]:
        home = self._home(machine)
        environ = {k: v for k, v in os.environ.items() if not k.startswith(("AMPACITY_", "XDG_"))}
        return {
            **environ,
            "HOME": str(home),
            "XDG_STATE_HOME": str(home / ".local" / "state"),
            "XDG_CONFIG_HOME": str(home / ".config"),
            "XDG_RUNTIME_DIR": str(home / "run"),
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "PYTHONUNBUFFERED": "1",
            "PYTHONDONTWRITEBYTECODE": "1",
        }

    def _host(self, machine: str) -> list[str]:
        """What a command begins with to have another host name; nothing for this very machine."""
        named = ["sh", "-c", 'hostname "$0" && exec "$@"', machine]
        return ["unshare", "--uts", *named] if machine else []

    def _home(self, machine: str) -> Path:
        if machine not in self._homes:
            home = self._homes[machine] = self.folder / (machine or _NOBODY)
            home.mkdir()
            (home / "run").mkdir(mode=0o700)
            self.fill(home)
        return self._homes[machine]

    def _called(self, typed: Typed, printed: str) -> str:
        """What was printed, with the page's names; the words that a command may repeat are kept."""
        for machine, home in self._homes.items():
            printed = printed.replace(f"{home}/run", "/run/user/1000")
            printed = printed.replace(str(home), f"/home/{machine or _NOBODY}")
        for here, there in self.names.items():
            printed = re.sub(here, there, printed)
        for found in re.finditer(r"(?:tcp:127\.0\.0\.1|\bada):(\d+)", printed):
            self._places["ada:8786"] = f"127.0.0.1:{found[1]}"
        printed = re.sub(r"\b(127\.0\.0\.1|ada):\d+", "ada:8786", printed)
        for pattern in REPEATED:
            then, now = (re.findall(pattern, text, re.M) for text in (typed.printed, printed))
            self._now.update(zip(then, now, strict=False))
        return printed

    def _meant(self, typed: Typed) -> str:
        command = self._of_now(typed.command)
        command = command.replace("/run/user/1000", f"{self._home(typed.machine)}/run")
        for then, now in self._places.items():
            command = command.replace(then, now)
        return command

    def _of_now(self, command: str) -> str:
        for then in sorted(self._now, key=len, reverse=True):
            command = command.replace(then, self._now[then])
        return command

    def _rewrite(self, page: Path, old: str, played: list[tuple[Typed, str]]) -> None:
        new = ""
        for typed, printed in played:
            shortened = "…" in typed.printed and fits(printed, typed)
            lines = (typed.printed if shortened else printed).rstrip().splitlines()
            new += f"{typed.machine}$ {self._of_now(typed.command)}\n"
            new += "".join(line.rstrip() + "\n" for line in lines)
        text = page.read_text()
        assert text.count(f"```console\n{old}```") == 1, f"{page}: shown twice, write it by hand"
        page.write_text(text.replace(f"```console\n{old}```", f"```console\n{new}```"))


def fits(printed: str, typed: Typed) -> bool:
    """Whether this is what the page shows, apart from what differs from run to run."""
    seen, wanted = blur(printed), blur(typed.printed)
    if typed.any_order:
        return sorted(seen.splitlines()) == sorted(wanted.splitlines())
    lines = [re.escape(line).replace("…", ".*") + "\n" for line in wanted.splitlines()]
    pattern = "".join("(?:.*\n)*?" if line == ".*\n" else line for line in lines)
    return re.fullmatch(pattern, seen.rstrip("\n") + "\n" if seen else "") is not None
