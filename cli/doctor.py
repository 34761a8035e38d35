"""``doctor``: what may be wrong with this installation, its store, and the way to the coordinator.

Every check says what it found, and what to do where that is not well. Nothing is changed.
"""

from __future__ import annotations

import platform
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from .failures import Exit, next_step
from .rendering import byte_count, dumps, harmless, span
from .shared import Common, command

if TYPE_CHECKING:
    from ..protocol.access import StateFolder
    from .settings import Settings

CLOCK_SECONDS = 2.0
"""Two clocks may differ by so much: times in lists come from both."""

LITTLE_ROOM = 1 << 30
"""Bytes of free disk below which it is time to do something."""

NO_ROOM = 80 << 20
"""Bytes below which the coordinator takes nothing more, see ``coordinator.diskroom``."""


class Check(NamedTuple):
    """What was checked, and what was found."""

    name: str
    good: bool | None
    """None: it does not matter, or cannot be told."""
    text: str
    todo: str | None = None


@command(
    name="doctor",
    short_help="Check this installation, the store and the way to the coordinator.",
    examples=[
        "ampacity doctor",
        "ampacity --coordinator host:8786 doctor",
        "ampacity doctor --json",
    ],
)
def doctor_command(common: Common) -> int:
    """Check this installation, the store of this user's coordinator, and the way to it.

    Each line tells what was found, and what to do where it is not well. Exits with 1 if something
    is wrong.
    """
    bad = False
    for check in _checks(common):
        bad |= check.good is False
        if common.as_json:
            fields = {"check": check.name, "ok": check.good, "text": check.text}
            click.echo(dumps({**fields, "next": check.todo}))
        else:
            mark = {True: "ok", False: "BAD", None: "-"}[check.good]
            click.echo(f"{mark:<4} {check.name:<12} {harmless(check.text)}")
            if check.todo:
                click.echo(f"     {'':<12} -> {harmless(check.todo)}")
    return Exit.JOB_FAILED if bad else Exit.DONE


def _checks(common: Common) -> Iterator[Check]:
    from .connecting import state_folder

    yield _versions()
    yield _interpreter(common)
    yield _access(common.settings)
    state = state_folder(common.settings)
    yield from _state(state)
    yield from _coordinator(common)


# -- here -----------------------------------------------------------------------------------------


def _versions() -> Check:
    from importlib.metadata import version

    from .. import __version__

    found = [f"{name} {version(name)}" for name in ("twisted", "ampoule", "msgpack")]
    system = f"{platform.system()} {platform.release()}"
    return Check("versions", True, ", ".join([f"ampacity {__version__}", *found, system]))


def _interpreter(common: Common) -> Check:
    """The interpreter of the jobs: is ampacity there, and the same one?"""
    import subprocess

    from .. import __version__

    path = common.settings["python"]
    if path is None:
        return Check("interpreter", True, f"{sys.executable} (Python {platform.python_version()})")
    code = "import ampacity, sys; print(ampacity.__version__, sys.version.split()[0])"
    install = f"{path} -m pip install ampacity=={__version__}"
    try:
        done = subprocess.run(  # noqa: S603  # the user's own interpreter
            [path, "-c", code], capture_output=True, text=True, timeout=30, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return Check("interpreter", False, f"{path} does not run, or has no ampacity", install)
    theirs, python = done.stdout.split()
    text = f"{path} (ampacity {theirs}, Python {python})"
    if theirs != __version__:
        return Check("interpreter", False, f"{text}; here it is {__version__}", install)
    return Check("interpreter", True, text)


def _access(settings: Settings) -> Check:
    from ..protocol.errors import InsecureFolder
    from .connecting import access_folder

    access = access_folder(settings)
    try:
        access.check()
    except FileNotFoundError:
        return Check("access", None, f"{access.path} is not there yet; ampacity up makes it")
    except InsecureFolder as e:
        return Check("access", False, str(e))
    return Check("access", True, f"{access.path}: {_held_by(access.holder())}")


def _held_by(holder: int | None) -> str:
    return "nobody holds it" if holder is None else f"held by process {holder or 'unknown'}"


# -- the state folder and the store ---------------------------------------------------------------


def _state(state: StateFolder) -> Iterator[Check]:
    from ..protocol.access import check_private
    from ..protocol.errors import InsecureFolder, StoreRefused

    try:
        state.check_store()
        check_private(state.path)
    except FileNotFoundError:
        yield Check("state", None, f"{state.path} is not there yet; a coordinator makes it")
        return
    except (InsecureFolder, StoreRefused) as e:
        yield Check("state", False, str(e))
        return
    holder = state.holder()
    yield Check("state", True, f"{state.path}: {_held_by(holder)}")
    yield _room(state.store if state.store.exists() else state.path)
    yield (
        _store(state)
        if holder is None
        else Check(
            "store", None, f"{state.store}: in use, so it is not read; the coordinator tells of it"
        )
    )


def _room(folder: Path) -> Check:
    """Is there room on the disk of the store?"""
    import shutil

    usage = shutil.disk_usage(folder)
    text = f"{byte_count(usage.free)} of {byte_count(usage.total)} are free at {folder}"
    todo = (
        "make room there, or: ampacity forget --fetched; or move the folder to a larger disk, "
        "and name it with --state"
    )
    if usage.free < NO_ROOM:
        return Check("disk", False, f"{text}: nothing more is accepted", todo)
    if usage.free < LITTLE_ROOM:
        return Check("disk", None, f"{text}: that is little", todo)
    return Check("disk", True, text)


def _store(state: StateFolder) -> Check:
    """Reads the store while nobody uses it; a coordinator that starts meanwhile is refused."""
    import sqlite3

    from ..protocol.errors import AlreadyRunning

    path = state.store / "queue.db"
    if not path.exists():
        return Check("store", None, f"{state.store}: no job was ever kept there")
    try:
        state.lock()
    except (AlreadyRunning, OSError) as e:
        return Check("store", None, f"{path} is not read: {e}")
    try:
        return _read_store(path)
    except sqlite3.Error as e:
        return Check("store", False, f"{path} cannot be read: {e}", _RESTORE)
    finally:
        state.unlock()


_RESTORE = (
    "move the store folder away and put a backup in its place (ampacity backup makes one), or "
    "start with a new store"
)


def _read_store(path: Path) -> Check:
    import sqlite3
    from contextlib import closing

    from ..coordinator.examining import in_short, mend, structure, unaccounted
    from ..coordinator.schema import VERSION

    # for reading only, a log that a killed coordinator has left could not be taken into account
    uri = f"{path.as_uri()}?mode=rw"
    with closing(sqlite3.connect(uri, uri=True, timeout=0, isolation_level=None)) as store:
        store.execute("PRAGMA locking_mode = EXCLUSIVE")
        problems = structure(store, whole=True)
        schema = str(store.execute("SELECT version_num FROM alembic_version").fetchone()[0])
        damage, told = in_short(problems), schema == VERSION
        if problems and told and mend(store, trial=True):
            again = "start the coordinator: it makes them anew from the jobs, which are all there"
            return Check("store", False, f"{path}: indexes are damaged: {damage}", again)
        if not problems and told:
            damage = unaccounted(store, store.execute("SELECT next_job FROM meta").fetchone()[0])
        if damage:
            return Check("store", False, f"{path} is damaged: {damage}", _RESTORE)
        jobs = store.execute("SELECT count(*) FROM jobs").fetchone()[0]
    size = byte_count(sum(file.stat().st_size for file in path.parent.glob("queue.db*")))
    text = f"{path}: {jobs} jobs, {size}, schema {schema}"
    if schema > VERSION:
        newer = "a newer ampacity has written it: upgrade this one, or use a backup from before"
        return Check("store", False, f"{text}; this ampacity knows {VERSION}", newer)
    old = "" if schema == VERSION else f"; the next start brings it to {VERSION}"
    return Check("store", True, f"{text}, undamaged{old}")


# -- the coordinator ------------------------------------------------------------------------------


class _Seen(NamedTuple):
    """What a coordinator told."""

    status: dict[str, Any]
    workers: list[dict[str, Any]]
    asked: float
    """UNIX time here, in the middle of question and answer."""
    took: float


def _coordinator(common: Common) -> Iterator[Check]:
    from ..protocol.errors import AmpacityError
    from .connecting import access_folder, client, place_of

    try:
        place = place_of(common.settings)
    except (AmpacityError, click.UsageError) as e:
        yield Check("coordinator", False, str(e))
        return
    found: list[_Seen] = []

    async def main(reactor: Any, link: Any) -> int:
        began = time.time()
        status = await link.query("status")
        took = time.time() - began
        found.append(_Seen(status, await link.query("workers"), began + took / 2, took))
        return Exit.DONE

    try:
        client(common, main, patience=1.0)
    except AmpacityError as e:
        named = common.settings["coordinator"] is not None
        held = access_folder(common.settings).holder() is not None
        bad = False if named or held else None
        yield Check("coordinator", bad, str(e), next_step(e) if bad is False else None)
        return
    seen = found[0]
    yield _answers(place, seen)
    yield from (_software(seen), _clocks(seen), *_kept(seen))


def _answers(place: str, seen: _Seen) -> Check:
    status = seen.status
    facts = f"{status['workers']} workers, {status['slots']} slots"
    text = f"{place}: ampacity {status['software']}, {facts}, answers in {span(seen.took)}"
    if not status["slots"] and status.get("queued"):
        return Check("coordinator", False, f"{text}; jobs wait", "ampacity join brings a worker")
    return Check("coordinator", True, text)


def _software(seen: _Seen) -> Check:
    """Everybody's version: the coordinator's is the newest, or they are all the same."""
    from .. import __version__

    theirs = str(seen.status["software"])
    others = {
        str(worker["name"]): str(worker.get("software"))
        for worker in seen.workers
        if worker.get("software") != theirs
    }
    if _order(__version__) > _order(theirs):
        text = f"here {__version__}, the coordinator {theirs}"
        return Check("software", False, text, "the coordinator is upgraded first")
    if others:
        told = ", ".join(f"{name} {software}" for name, software in others.items())
        todo = "one after the other: ampacity workers drain NAME, upgrade it, start it again"
        return Check("software", None, f"the coordinator {theirs}, of its workers {told}", todo)
    if __version__ != theirs:
        todo = f"pip install ampacity=={theirs}"
        return Check("software", None, f"here {__version__}, the coordinator {theirs}", todo)
    return Check("software", True, f"{theirs} here, at the coordinator and its workers")


def _order(version: str) -> tuple[int, ...]:
    """So that versions can be compared: the numbers at its beginning."""
    import re

    found = re.match(r"\d+(\.\d+)*", version)
    return tuple(int(part) for part in found.group().split(".")) if found else ()


def _clocks(seen: _Seen) -> Check:
    """Deadlines and leases follow nobody's clock; retention, tokens and what lists show do."""
    there = seen.status.get("time")
    if there is None:
        return Check("clocks", None, "this coordinator does not tell its time")
    apart = float(there) - seen.asked
    text = f"the coordinator's is {span(abs(apart))} {'ahead' if apart > 0 else 'behind'}"
    if abs(apart) > CLOCK_SECONDS + seen.took / 2:
        return Check("clocks", False, text, "set both by NTP (timedatectl set-ntp true)")
    return Check("clocks", True, text)


_DISK = "look at the disk (dmesg, smartctl) and the memory of its host"


def _kept(seen: _Seen) -> Iterator[Check]:
    """What a coordinator tells of its store."""
    from .records import store_of

    store = store_of(seen.status)
    if store is None:
        durable = seen.status.get("durable")
        told = None if durable is None else "jobs are kept in memory only: they end with it"
        if told is not None:
            yield Check("kept", None, told, "without --ephemeral they are kept on disk")
        return
    size, free = store.get("bytes"), store.get("free")
    text = f"{store.get('folder')}: {byte_count(size)}, schema {store.get('schema')}"
    text += f", {seen.status.get('unfetched', 0)} results not fetched"
    if refusing := seen.status.get("refusing"):
        yield Check("kept", False, f"{text}; submissions are refused: {refusing}")
    elif free is not None and free < NO_ROOM:
        todo = "make room on its disk; ampacity forget --fetched gives up what somebody has"
        yield Check("kept", False, f"{text}, {byte_count(free)} free: nothing is accepted", todo)
    elif damaged := store.get("damaged"):
        text += f"; {damaged} jobs in it are damaged: the coordinator's log names them"
        yield Check("kept", False, text, _DISK)
    elif mended := store.get("mended"):
        text += f"; indexes were damaged at the start, and were made anew: {mended}"
        yield Check("kept", None, text, _DISK)
    else:
        yield Check("kept", True, text)
