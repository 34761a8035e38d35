"""Starting a child's process: its descriptors, its ampoule pool, and its last words if it dies."""

from __future__ import annotations

import os
import shutil
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.error import ProcessTerminated
from twisted.python.failure import Failure

from ..protocol.errors import CannotStart
from .bootstrap import NOT_INSTALLED
from .ending import Grace
from .errands import FROM_CHILD, STDERR, STDIN, STDOUT, TO_CHILD, Prepare
from .rights import JobUser

if TYPE_CHECKING:
    from .ampoules import ChildConnector, ProcessOwner

_THREADS = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)


@attrs.frozen(kw_only=True)
class ChildOptions:
    """What the children of one pool have in common."""

    python: str
    setup: str | None
    worker: str
    software: str
    folder: Path
    """Each child has a folder of its own in it; ``results`` is for results on their way."""
    grace: Grace
    user: JobUser | None = None
    """Whose rights they have; None: the agent's."""

    def results(self) -> Path:
        """Where children leave large results."""
        return self.folder / "results"

    def taken(self) -> Path:
        """Where those of another user's children lie until they are stored."""
        return self.folder / "taken"


def interpreter(python: str | None) -> str:
    """The children's interpreter, from a path or a name; none: this one."""
    return sys.executable if python is None else shutil.which(python) or python


def make_folders(options: ChildOptions) -> None:
    """Blocking: make what the children of a pool share, for nobody else."""
    for folder in (options.folder.parent, options.folder):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if options.user is None:
        options.results().mkdir(mode=0o700, exist_ok=True)
        return
    for folder in (options.folder.parent, options.folder):
        options.user.let_through(folder)
    options.user.make_own(options.results())
    options.taken().mkdir(mode=0o700, exist_ok=True)


class Launched(NamedTuple):
    """A process that has been started."""

    pool: Any
    """ampoule's, of this one child."""
    connector: ChildConnector
    prepared: Deferred[dict[str, Any]]
    """The answer to ``Prepare``."""
    outputs: dict[int, int]
    """The agent's ends of standard output and error, by stream."""


def child_environment(user: JobUser | None = None) -> dict[str, str]:
    """The agent's environment without its tokens, one thread a child unless it says otherwise.

    ``AMPACITY_TOKEN*`` goes, and ``AMPACITY_COORDINATOR`` where it carries a token. Of another
    user's environment only what tells of the machine comes from here.
    """
    kept = {name: text for name, text in os.environ.items() if not _carries_token(name, text)}
    return {**dict.fromkeys(_THREADS, "1"), **(kept if user is None else user.environment(kept))}


def _carries_token(name: str, text: str) -> bool:
    return name.startswith("AMPACITY_") and (
        name.startswith("AMPACITY_TOKEN") or "#" in text or "amp1." in text
    )


def launch(
    reactor: Any,
    options: ChildOptions,
    owner: ProcessOwner,
    shared: dict[int, int],
    details: dict[str, Any],
) -> Launched:
    """Start a child, and have it prepare itself. ``shared``: more descriptors for it.

    Raises:
        OSError: there is no such interpreter, or no room for a process.
        Exception: what is imported for it cannot be, as while it is being upgraded.
    """
    from .ampoules import ChildStarter, pool_of_one

    nowhere = os.open(os.devnull, os.O_RDWR)
    pipes = {stream: os.pipe() for stream in (STDOUT, STDERR)}
    descriptors: dict[int, int | str] = {
        STDIN: nowhere,
        **{stream: ends[1] for stream, ends in pipes.items()},
        TO_CHILD: "w",
        FROM_CHILD: "r",
        **shared,
    }
    try:
        environment = child_environment(options.user)
        starter = ChildStarter(reactor, options, environment, descriptors, owner)
        pool = pool_of_one(starter, os.getpid())
        if options.user is not None:
            options.user.make_own(Path(details["files"]))
            for ends in pipes.values():
                options.user.let_write(ends[1])
        prepared = pool.doWork(Prepare, details=details)
    except Exception:
        for ends in pipes.values():
            os.close(ends[0])
        raise
    finally:
        os.close(nowhere)
        for ends in pipes.values():
            os.close(ends[1])
    pool.finished = True  # ampoule shall never start another one in its place
    assert starter.connector is not None
    outputs = {stream: ends[0] for stream, ends in pipes.items()}
    return Launched(pool, starter.connector, prepared, outputs)


def prepare_details(options: ChildOptions, nonce: bytes, folder: Path) -> dict[str, Any]:
    """What ``Prepare`` carries."""
    return {
        "nonce": nonce,
        "setup": options.setup,
        "folder": str(Path.cwd()),
        "worker": options.worker,
        "files": str(folder),
        "results": str(options.results()),
    }


def unfit(options: ChildOptions, answer: dict[str, Any]) -> CannotStart | None:
    """Why a child that answered ``Prepare`` cannot be used; None if it can."""
    if answer["error"] is not None:
        return CannotStart(f"the set-up function {options.setup} failed:\n{answer['error']}")
    if answer["software"] != options.software:
        return CannotStart(
            f"{options.python} has ampacity {answer['software']}, and this is {options.software}: "
            f"{options.python} -m pip install ampacity=={options.software}"
        )
    return None


def exit_status(reason: Failure | None) -> tuple[int | None, str | None]:
    """A process's exit code, or the name of the signal that ended it."""
    value = reason.value if reason is not None else None
    if isinstance(value, ProcessTerminated) and value.signal:
        return None, signal.Signals(value.signal).name
    return getattr(value, "exitCode", None) or 0, None


def last_words(options: ChildOptions, reason: Failure | None, said: bytes) -> CannotStart:
    """What to tell of a child that died before it was ready."""
    code, signal_name = exit_status(reason)
    python = options.python
    as_user = "" if options.user is None else f", as user {options.user.name}"
    readable = ", where that user can read it" if as_user else ""
    lines = "\n".join(said.decode("utf-8", "replace").strip().splitlines()[-12:])
    if code == NOT_INSTALLED:
        return CannotStart(
            f"{python} cannot import ampacity{as_user}; install it there{readable}: "
            f"{python} -m pip install ampacity\n{lines}"
        )
    end = f"ended by {signal_name}" if signal_name else f"exit code {code}"
    told = f":\n{lines}" if lines else ""
    return CannotStart(f"a child of {python} died at its start{as_user} ({end}){told}")
