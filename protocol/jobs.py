"""What a job is, from the submitter to the child, and how it is packed.

A job is a ``JobSpec``, which many jobs of one ``map`` share, and a payload of its own. In a frame
each spec stands once and jobs refer to it by its place, so that a no-op job costs a few bytes.
The payload is opaque here: nobody but the child unpickles it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from itertools import repeat
from typing import Any, Literal, NamedTuple

import attrs

from .columns import Column, all_of, columns, tuples
from .errors import Malformed, TooLarge
from .ids import Attempt, ClientId, JobId
from .limits import MAX_NUMBER, MAX_SECONDS, NAME_LENGTH, SPEC_ITEMS, TEXT_LENGTH
from .packing import pack, unpack_list


class BlobRef(NamedTuple):
    """A value that travels apart: its SHA-256 digest and its size in bytes."""

    digest: bytes
    size: int


Payload = bytes | BlobRef
"""Bytes, or a reference to bytes that travel as a blob."""

Kind = Literal["import", "value", "command"]


@attrs.frozen(kw_only=True)
class JobSpec:
    """What the jobs of one submission have in common.

    Its payloads hold, by kind: ``import`` and ``value``, the pickled ``(args, kwargs)``; with
    ``arguments="json"``, as the command line sends them, a packed ``[args, kwargs]`` of plain
    data; ``command``, the packed list of words.
    """

    kind: Kind
    target: str
    """``module:qualified.name`` for an import, else what to show: a name, a command's words."""
    function: BlobRef | None = None
    """For a function by value: its cloudpickle, stored under its hash."""
    ships: tuple[BlobRef, ...] = ()
    """Modules shipped by value, each a packed ``[name, is package, {path: source}]``."""
    arguments: Literal["pickle", "json"] = "pickle"
    name: str | None = None
    timeout: float | None = None
    """Seconds an attempt may run, from its start in the child."""
    deadline: float | None = None
    """Seconds from the submission to the end, queueing included."""
    host: str = ""
    """The submitter's machine, as ``workers.machine.identity()`` names it."""
    folder: str | None = None
    """The submitter's working folder, used where ``host`` is the worker's own machine."""
    cwd: str | None = None
    """The folder to run in elsewhere; none: a scratch folder of the job's own."""
    env: tuple[tuple[str, str], ...] = ()
    orphans: Literal["keep", "cancel"] = "keep"
    python: str | None = None
    """The Python that the function needs (``3.11``), where it travels by value."""
    attach: bool = False
    """Send the output to the submitter, complete, while the job runs."""
    show: Literal["short", "full"] = "short"
    """How much of the result to prepare as text, see ``outcomes.Outcome.shown``."""
    path: tuple[str, ...] = ()
    """More folders that the submitter imports from, as that of its script; used where ``folder``
    is, after it."""
    retries: int = 0
    """How often the job runs again after an attempt that failed or timed out."""
    retry_on: tuple[str, ...] | None = None
    """The errors that are worth another attempt, each ``module.Class`` or a base of it; None: any
    ``Exception``, exit code and time-out."""
    backoff: float = 1.0
    """Seconds before the first retry; each further one waits twice as long, with jitter."""
    max_losses: int | None = None
    """Losses that the job survives; None: as many as the coordinator allows."""
    results: Literal["pickle", "data"] = "pickle"
    """How the result travels: ``data`` is packed plain data, and exceptions as text only."""

    def blobs(self) -> tuple[BlobRef, ...]:
        """Everything stored apart that a job of this spec needs, besides its payload."""
        return self.ships if self.function is None else (self.function, *self.ships)


_FIELDS = tuple(field.name for field in attrs.fields(JobSpec))
_NEEDED = _FIELDS.index("path") + 1
"""The fields of the first release: a peer of that one sends no more."""
_NONE = type(None)
_TEXT_OR_NONE = (str, _NONE)
_NUMBER_OR_NONE = (int, float, type(None))
_TYPES: dict[str, tuple[type, ...]] = {
    "kind": (str,),
    "target": (str,),
    "arguments": (str,),
    "name": _TEXT_OR_NONE,
    "timeout": _NUMBER_OR_NONE,
    "deadline": _NUMBER_OR_NONE,
    "host": (str,),
    "folder": _TEXT_OR_NONE,
    "cwd": _TEXT_OR_NONE,
    "orphans": (str,),
    "python": _TEXT_OR_NONE,
    "attach": (bool,),
    "show": (str,),
    "retries": (int,),
    "backoff": (int, float),
    "max_losses": (int, type(None)),
    "results": (str,),
}
_CHOICES: dict[str, frozenset[str]] = {
    "kind": frozenset({"import", "value", "command"}),
    "arguments": frozenset({"pickle", "json"}),
    "orphans": frozenset({"keep", "cancel"}),
    "show": frozenset({"short", "full"}),
    "results": frozenset({"pickle", "data"}),
}


def pack_spec(spec: JobSpec) -> bytes:
    """A spec as bytes; equal specs give equal bytes."""
    return pack([getattr(spec, name) for name in _FIELDS])


def unpack_spec(data: bytes) -> JobSpec:
    """The spec that ``pack_spec`` packed.

    Raises:
        Malformed: a field is missing or has a wrong type.
    """
    values = unpack_list(data)
    if len(values) < _NEEDED:
        raise Malformed(f"a job spec has {_NEEDED} fields or more, this one {len(values)}")
    given: dict[str, Any] = dict(zip(_FIELDS, values, strict=False))
    for name, types in _TYPES.items():
        if name in given and not isinstance(given[name], types):
            raise Malformed(f"the field {name} of a job spec cannot be {given[name]!r:.60}")
    for name in ("timeout", "deadline", "backoff"):
        if given.get(name) is not None and not _is_time(given[name]):
            raise Malformed(f"the field {name} of a job spec is no number of seconds")
    for name in ("retries", "max_losses"):
        if given.get(name) is not None and not _is_count(given[name]):
            raise Malformed(f"the field {name} of a job spec is no number of times")
    for name, choices in _CHOICES.items():
        if name in given and given[name] not in choices:
            raise Malformed(f"the field {name} of a job spec cannot be {given[name]!r:.60}")
    if given["function"] is not None:
        given["function"] = blob_ref(given["function"])
    given["ships"] = tuple(blob_ref(ship) for ship in _list(given["ships"]))
    given["env"] = tuple(_text_pair(pair) for pair in _list(given["env"]))
    given["path"] = tuple(_needed_text(folder) for folder in _list(given["path"]))
    if given.get("retry_on") is not None:
        given["retry_on"] = tuple(_needed_text(error) for error in _list(given["retry_on"]))
    return JobSpec(**given)


def _is_time(value: float) -> bool:
    return type(value) is not bool and 0 <= value < math.inf


def _is_count(value: int) -> bool:
    return type(value) is not bool and value >= 0


def _list(value: Any) -> list[Any]:
    if type(value) is not list:
        raise Malformed(f"a list was expected, not {type(value).__name__}")
    return value


def _text_pair(value: Any) -> tuple[str, str]:
    match value:
        case [str(key), str(text)]:
            return key, text
        case _:
            raise Malformed("an environment variable is a name and a value")


def _needed_text(value: Any) -> str:
    if type(value) is not str:
        raise Malformed(f"text was expected, not {type(value).__name__}")
    return value


def blob_ref(value: Any) -> BlobRef:
    """A blob reference from its packed form, ``[digest, size]``.

    Raises:
        Malformed: it is none.
    """
    match value:
        case [bytes(digest), int(size)] if len(digest) == 32 and size >= 0:
            return BlobRef(digest, size)
        case _:
            raise Malformed("a blob reference is a digest of 32 bytes and a size")


def payload_of(value: Any) -> Payload:
    """A payload from its packed form: bytes, or ``[digest, size]``."""
    return value if type(value) is bytes else blob_ref(value)


def check_spec(spec: JobSpec, name_length: int = NAME_LENGTH) -> None:
    """Look at what is accepted only within bounds: at the door, not at what is stored already.

    Raises:
        TooLarge: a field is over its limit, which is named.
    """
    for name, length in (("name", name_length), ("python", 16)):
        if len(getattr(spec, name) or "") > length:
            raise TooLarge(f"a job's {name} has at most {length} characters")
    for name in ("target", "host", "folder", "cwd"):
        if len(getattr(spec, name) or "") > TEXT_LENGTH:
            raise TooLarge(f"a job's {name} has at most {TEXT_LENGTH} characters")
    for name in ("ships", "env", "path", "retry_on"):
        if len(getattr(spec, name) or ()) > SPEC_ITEMS:
            raise TooLarge(f"the list {name} of a job has at most {SPEC_ITEMS} places")
    for name in ("timeout", "deadline", "backoff"):
        if (getattr(spec, name) or 0) > MAX_SECONDS:
            raise TooLarge(f"a job's {name} is at most ten years")
    for name in ("retries", "max_losses"):
        if (getattr(spec, name) or 0) > MAX_NUMBER:
            raise TooLarge(f"a job's {name} is at most 2**62")


class Submission(NamedTuple):
    """One job on its way in: the spec is packed, so that equal ones are one object."""

    spec: bytes
    payload: Payload
    key: str | None = None
    place: int | None = None
    """The place in its group, from 0."""


class Assignment(NamedTuple):
    """One attempt on its way to a worker. ``client`` separates the children of different users."""

    job: JobId
    attempt: Attempt
    spec: bytes
    payload: Payload
    client: ClientId


def pack_submissions(submissions: Sequence[Submission]) -> bytes:
    """A frame ``[[spec...], [[spec's number, payload, key, place]...]]``."""
    places: dict[bytes, int] = {}
    records = [
        (places.setdefault(spec, len(places)), payload, key, place)
        for spec, payload, key, place in submissions
    ]
    return pack((list(places), records))


def unpack_submissions(frame: bytes) -> list[Submission]:
    """The submissions of a frame.

    Raises:
        Malformed: the frame is none of ``pack_submissions``.
    """
    specs, records = _two_lists(frame)
    if not all_of(specs, bytes):
        raise Malformed("a packed spec is bytes")
    if len(specs) > len(records):
        raise Malformed("a spec that no job of the frame has")
    numbers, payloads, keys, places = columns(records, 4)
    if not all_of(keys, _NONE, str):
        raise Malformed("a key is text")
    return tuples(Submission, _shared(specs, numbers), _payloads(payloads), keys, _counts(places))


def pack_assignments(assignments: Sequence[Assignment]) -> bytes:
    """A frame ``[[[client, spec]...], [[job, term, number, spec's number, payload]...]]``."""
    places: dict[tuple[str, bytes], int] = {}
    records = [
        (job, term, number, places.setdefault((client, spec), len(places)), payload)
        for job, (term, number), spec, payload, client in assignments
    ]
    return pack((list(places), records))


def unpack_assignments(frame: bytes) -> list[Assignment]:
    """The assignments of a frame.

    Raises:
        Malformed: the frame is none of ``pack_assignments``.
    """
    specs, records = _two_lists(frame)
    clients, packed = columns(specs, 2)
    if not all_of(clients, str) or not all_of(packed, bytes):
        raise Malformed("a client is text and a packed spec is bytes")
    jobs, terms, numbers, places, payloads = columns(records, 5)
    return tuples(
        Assignment,
        jobs,
        attempts(jobs, terms, numbers),
        _shared(packed, places),
        _payloads(payloads),
        _shared(clients, places),
    )


def attempts(jobs: Column, terms: Column, numbers: Column) -> Iterator[Attempt]:
    """The attempts of a frame; equal ones are one object, and most are.

    Raises:
        Malformed: one of them is named by something else than integers.
    """
    if not (all_of(jobs, int) and all_of(terms, int) and all_of(numbers, int)):
        raise Malformed("an attempt is named by a job, a term and a number")
    if len(set(terms)) == len(set(numbers)) == 1:
        return repeat(Attempt(terms[0], numbers[0]), len(jobs))
    pairs = list(zip(terms, numbers, strict=True))
    known = {pair: Attempt(*pair) for pair in set(pairs)}
    return map(known.__getitem__, pairs)


def _shared(values: Sequence[Any], places: Column) -> Iterable[Any]:
    """What the jobs of a frame have in common, from the place that each one names."""
    if not all_of(places, int) or (places and not 0 <= min(places) <= max(places) < len(values)):
        raise Malformed("a record names its spec by the place, from 0")
    if len(values) == 1:
        return repeat(values[0], len(places))
    return map(values.__getitem__, places)


def _payloads(column: Column) -> Iterable[Payload]:
    return column if all_of(column, bytes) else map(payload_of, column)


def _counts(column: Column) -> Iterable[int | None]:
    return column if all_of(column, _NONE) else map(_count, column)


def _two_lists(frame: bytes) -> tuple[list[Any], list[Any]]:
    match unpack_list(frame):
        case [list(first), list(second), *_later]:
            return first, second
        case _:
            raise Malformed("a frame of jobs is a list of specs and a list of records")


def _count(value: Any) -> int | None:
    if value is None or (type(value) is int and 0 <= value <= MAX_NUMBER):
        return value
    raise Malformed("a place is a number from 0 to 2**62")
