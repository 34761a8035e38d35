"""How a service says that it is ready: to people, to scripts, to who detached it."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from .failures import Exit, exit_code, say, tell
from .rendering import harmless

LAST_LINES = 15
"""Lines of the log that are shown when a detached service does not start."""


def announce(facts: dict[str, Any], ready_file: Path | None, ready_fd: int | None) -> None:
    """One JSON object on a line, for scripts; the file appears whole, and is its owner's only."""
    line = json.dumps(facts).encode() + b"\n"
    if ready_fd is not None:
        os.write(ready_fd, line)
        os.close(ready_fd)
    if ready_file is not None:
        write_private(ready_file, line)


def write_private(path: Path, data: bytes) -> None:
    """Write a file that only its owner can read, whole or not at all.

    Raises:
        click.UsageError: it cannot be written.
    """
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        Path(name).replace(path)
    except OSError as e:
        raise click.UsageError(f"{path} cannot be written: {e.strerror}") from None


def show_coordinator(facts: dict[str, Any]) -> None:
    """For people: where it is, and the lines to paste elsewhere. These are printed once, on
    purpose; where there is another way to them, or stdout is a journal, they are not."""
    slots = facts["slots"]
    what = f"with {slots} slot{'s' if slots > 1 else ''}" if slots else "without slots"
    click.echo(harmless(f"the coordinator is ready, {what}: {', '.join(facts['listening'])}"))
    if facts["join"] is None:
        if not slots:
            click.echo("no worker of another machine can join it: give --listen tcp:8786 for that")
        return
    if (tokens := facts["tokens"]) is not None:
        where = harmless(str(tokens))
        click.echo(f"lines to join with are in {where}/worker/token and {where}/client/token")
        return
    if _is_journal():
        click.echo("lines to join with: ampacity token create --role worker, or --role client")
        return
    click.echo(f"""
To offer another machine's processors, paste there:
  ampacity join '{facts["join"]}'

To submit jobs from another machine, keep the client's token in a file there, once:
  (umask 077; echo '{facts["client"]}' > cluster.token)
  ampacity --token-file cluster.token run math:factorial 20
""")


def _is_journal() -> bool:
    """Whether systemd's journal keeps what is printed, and shows it to others."""
    place = os.environ.get("JOURNAL_STREAM", "")
    with contextlib.suppress(OSError, ValueError):
        about = os.fstat(sys.stdout.fileno())
        return place == f"{about.st_dev}:{about.st_ino}"
    return False


def detached(log: Path, serve: Callable[[int], int]) -> int:
    """Run a service apart from this terminal, and wait until it is ready.

    ``serve`` gets the descriptor that takes its readiness. The answer is the exit code of who
    started it. Call this before any reactor or thread is made.
    """
    reading, writing = os.pipe()
    sys.stdout.flush()
    first = os.fork()
    if first:
        os.close(writing)
        os.waitpid(first, 0)
        return _tell_readiness(reading, log)
    os.close(reading)
    os.setsid()
    if os.fork():
        os._exit(0)
    _leave_terminal(log)
    os._exit(_served(serve, writing))


def _leave_terminal(log: Path) -> None:
    nothing = os.open(os.devnull, os.O_RDONLY)
    out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for stream, descriptor in ((0, nothing), (1, out), (2, out)):
        os.dup2(descriptor, stream)
    os.close(nothing)
    os.close(out)


def _served(serve: Callable[[int], int], writing: int) -> int:
    try:
        return serve(writing)
    except BaseException as e:  # noqa: BLE001  # whoever waits for us has to be told
        tell(e)
        with contextlib.suppress(OSError):
            os.write(writing, json.dumps({"error": str(e), "code": exit_code(e)}).encode() + b"\n")
        return exit_code(e)


def _tell_readiness(reading: int, log: Path) -> int:
    with os.fdopen(reading) as pipe:
        line = pipe.readline()
    ended = {"error": "it ended before it was ready", "code": 1}
    facts: dict[str, Any] = json.loads(line) if line else ended
    if "error" in facts:
        say(f"the service did not start: {facts['error']}")
        click.echo(f"  Its log: {harmless(str(log))}", err=True)
        return int(facts["code"])
    show_coordinator(facts)
    where = harmless(str(log))
    click.echo(
        f"it runs detached, as process {facts['pid']}; its log: {where}; to stop it: ampacity down"
    )
    return Exit.DONE
