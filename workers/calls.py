"""One call in a child: find the function, run it, make an outcome of what it gives or raises."""

from __future__ import annotations

import contextlib
import difflib
import importlib
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from ..protocol.errors import Malformed, NotPlainData
from ..protocol.jobs import JobSpec, unpack_spec
from ..protocol.outcomes import Ending, Outcome, Shown, pack_outcome
from ..protocol.packing import pack, unpack_arguments
from ..protocol.plain import pack_plain
from .results import Sink, describe, pickle_error, pickle_into, plain, show
from .retrying import worth_retrying

KEPT_CALLS = 256
"""Specs whose function is kept ready in a child."""
KEPT_FUNCTIONS = 64
"""Functions by value that are kept unpickled."""


class Interrupted(BaseException):
    """This job is to end: raised by the child's signal handlers."""


class InterruptedByHand(Interrupted, KeyboardInterrupt):
    """For SIGINT: what code that clears up after Ctrl-C expects."""


class Ended(NamedTuple):
    """What one call came to: ``JobDone``'s part that the call decides."""

    ending: int
    body: bytes
    blobs: list[Any]
    again: bool = True
    """Whether a failure is worth another attempt."""


class Place(NamedTuple):
    """Where a child works: the worker's name for messages, and a folder for its files."""

    worker: str
    files: Path
    results: Path


class Calls:
    """Ready functions, by spec, and running them."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._ready: dict[bytes, tuple[JobSpec, Callable[..., Any]]] = {}
        self._functions: dict[bytes, Callable[..., Any]] = {}
        self._results = 0

    def prepare(self, spec: bytes, function: str | None) -> tuple[JobSpec, Callable[..., Any]]:
        """The function of a spec; ``function`` is the path of its cloudpickle.

        Raises:
            Exception: it cannot be found or imported; the message says where that was tried.
        """
        ready = self._ready.get(spec)
        if ready is None:
            if len(self._ready) >= KEPT_CALLS:
                self._ready.clear()
            unpacked = unpack_spec(spec)
            ready = self._ready[spec] = (unpacked, self._find(unpacked, function))
        return ready

    def _find(self, spec: JobSpec, path: str | None) -> Callable[..., Any]:
        if spec.kind == "import":
            return find_function(spec.target, self._place.worker)
        if spec.kind == "command":
            return run_command
        if spec.function is None or path is None:
            raise Malformed("a job by value came without its function")
        found = self._functions.get(spec.function.digest)
        if found is None:
            if len(self._functions) >= KEPT_FUNCTIONS:
                self._functions.clear()
            with Path(path).open("rb") as file:
                found = self._functions[spec.function.digest] = pickle.load(file)  # noqa: S301
        return found

    def run(
        self, spec: JobSpec, function: Callable[..., Any], payload: bytes | None, path: str | None
    ) -> Ended:
        """Call a function.

        Raises:
            Interrupted: a signal ended it.
        """
        try:
            if spec.kind == "command":
                return _command_ended(function(_words(payload, path), spec.target))
            args, kwargs = _arguments(spec, payload, path)
            value = function(*args, **kwargs)
        except Interrupted:
            raise
        except BaseException as e:  # noqa: BLE001  # SystemExit is an ending like others
            return self._failed(e, spec, spec.kind == "value")
        return self._succeeded(spec, value)

    def not_run(self, error: BaseException, packed: bytes) -> Ended:
        """The ending of a job, with this spec, that could not even be called."""
        ready = self._ready.get(packed)
        try:
            spec = unpack_spec(packed) if ready is None else ready[0]
        except Malformed:
            return self._failed(error, _UNKNOWN, False)
        return self._failed(error, spec, False)

    def _failed(self, error: BaseException, spec: JobSpec, by_value: bool) -> Ended:
        """The ending for an exception, which travels always as text, and pickled where that works
        and nothing speaks against it."""
        plain_text = spec.results == "data"
        value = None if plain_text else pickle_error(error, by_value, self._place.files)
        body = pack_outcome(Outcome(value=value, error=describe(error)))
        return Ended(Ending.FAILED, body, [], worth_retrying(type(error), spec.retry_on))

    def _succeeded(self, spec: JobSpec, value: Any) -> Ended:
        data = spec.results == "data"
        if not data:
            if value is None:
                return _NONE
            quick = plain(value)
            if quick is not None:
                body = pack((*quick, None, None, None, b""))
                # its own constructor is a function of Python's
                return tuple.__new__(Ended, (_SUCCEEDED, body, [], True))
        self._results += 1
        sink = Sink(self._place.files / f"result-{self._results}")
        try:
            if data:
                sink.write(pack_plain(value))
            else:
                pickle_into(sink, value, spec.kind == "value")
            shown = show(value, spec.show == "full")
        except Interrupted:
            sink.discard()
            raise
        except NotPlainData as e:
            return self._failed(e.with_traceback(None), spec, False)
        except Exception as e:  # noqa: BLE001  # pickling runs code of the user's
            sink.discard()
            return self._unpicklable(spec, value, e)
        packed, path = sink.close()
        body = pack_outcome(Outcome(value=packed, shown=shown, data=data))
        if path is None:
            return Ended(Ending.SUCCEEDED, body, [])
        kept = self._place.results / f"{self._place.files.name}-{self._results}"
        Path(path).rename(kept)
        return Ended(Ending.SUCCEEDED, body, [[*packed, str(kept)]])

    def _unpicklable(self, spec: JobSpec, value: Any, cause: Exception) -> Ended:
        kind = type(value)
        error = TypeError(
            f"the result, a {kind.__module__}.{kind.__qualname__}, cannot be pickled, so it "
            f"cannot be sent back: {type(cause).__name__}: {cause}"
        )
        return self._failed(error, spec, False)


_SUCCEEDED = Ending.SUCCEEDED  # an access to a member costs as much as a call

_UNKNOWN = JobSpec(kind="import", target="", retry_on=())
"""In the place of a spec that cannot be read: another attempt could not read it either."""

_NONE = Ended(
    Ending.SUCCEEDED,
    pack((pickle.dumps(None, 5), Shown(True, "NoneType", "null"), None, None, None, b"")),
    [],
)


def find_function(target: str, worker: str) -> Callable[..., Any]:
    """Import ``module:qualified.name``.

    Raises:
        Exception: what importing raises; the messages of our own say where it was tried.
    """
    module_name, _, qualified = target.partition(":")
    found: Any = _import(module_name, worker)
    path = module_name
    for name in qualified.split("."):
        try:
            found = getattr(found, name)
        except AttributeError:
            raise AttributeError(_no_such_name(found, path, name)) from None
        path = f"{path}.{name}" if path != module_name else f"{path}:{name}"
    if not callable(found):
        raise TypeError(f"{target} is {_a(found)}, which cannot be called")
    return found  # type: ignore[no-any-return]


def _import(name: str, worker: str) -> Any:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as e:
        if e.name is None or not (name == e.name or name.startswith(e.name + ".")):
            raise
    importlib.invalidate_caches()  # the file may be younger than the listing of its folder
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as e:
        if e.name is None or not (name == e.name or name.startswith(e.name + ".")):
            raise
        raise ModuleNotFoundError(
            f"there is no module {e.name!r} on worker {worker}, for {sys.executable}; "
            f"sys.path there: {sys.path}",
            name=e.name,
        ) from None


def _no_such_name(owner: Any, path: str, name: str) -> str:
    where = getattr(owner, "__file__", None)
    close = difflib.get_close_matches(name, [n for n in dir(owner) if isinstance(n, str)], 3)
    return (
        f"{path} has no {name!r}"
        + (f" (it is {where})" if where else "")
        + (f"; it has {', '.join(close)}" if close else "")
    )


def _a(value: Any) -> str:
    kind = type(value).__qualname__
    return f"a {kind}" if kind[0].lower() not in "aeiou" else f"an {kind}"


def _arguments(spec: JobSpec, payload: bytes | None, path: str | None) -> Any:
    if spec.arguments == "pickle":
        if payload is not None:
            return pickle.loads(payload)  # noqa: S301  # that is what the user asked for
        from ..protocol import mapped  # large values are rare, and it takes much else with it

        return mapped.load(Path(path or ""))
    match _plain(payload, path):
        case [list(args), dict(kwargs)]:
            return args, kwargs
        case _:
            raise Malformed("the arguments of a job must be a list and a map")


def _plain(payload: bytes | None, path: str | None) -> Any:
    return unpack_arguments(payload if payload is not None else Path(path or "").read_bytes())


def _words(payload: bytes | None, path: str | None) -> list[str]:
    words = _plain(payload, path)
    if type(words) is not list or not words or not all(type(word) is str for word in words):
        raise Malformed("a command is a list of words")
    return words


class CommandEnd(NamedTuple):
    """How a command ended, with a message where it could not be started."""

    code: int
    message: str | None = None


def run_command(words: list[str], _target: str) -> CommandEnd:
    """Run a program, without a shell, in this process's group, and wait for it.

    Raises:
        Interrupted: a signal ended the job; the program has ended by then.
    """
    try:
        process = subprocess.Popen(words, stdin=subprocess.DEVNULL)  # noqa: S603
    except (FileNotFoundError, NotADirectoryError):
        return CommandEnd(127, f"{words[0]}: command not found")
    except (PermissionError, OSError, ValueError) as e:
        return CommandEnd(126, f"{words[0]}: cannot be run: {getattr(e, 'strerror', None) or e}")
    try:
        code = process.wait()
    except Interrupted:
        _wait_out(process)
        raise
    return CommandEnd(code if code >= 0 else 128 - code)


def _wait_out(process: subprocess.Popen[bytes]) -> None:
    """The signal went to the whole group; the agent sends stronger ones if that was not enough."""
    while process.returncode is None:
        with contextlib.suppress(Interrupted):
            process.wait()


def _command_ended(end: CommandEnd) -> Ended:
    if end.message:
        sys.stderr.write(f"ampacity: {end.message}\n")
    ending = Ending.SUCCEEDED if end.code == 0 else Ending.FAILED
    return Ended(ending, pack_outcome(Outcome(exit_code=end.code)), [])
