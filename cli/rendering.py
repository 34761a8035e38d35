"""How values, times and names are shown: exact for programs, harmless and local for people."""

from __future__ import annotations

import datetime
import json
import math
import re
from textwrap import indent
from typing import Any

from ..protocol.errors import Malformed
from ..protocol.jobs import JobSpec, Payload
from ..protocol.limits import DATA_DEPTH
from ..protocol.outcomes import Shown
from ..protocol.packing import unpack_arguments

CALL_WIDTH = 2000
"""Characters of a call that ``job`` shows."""

# control characters, marks of direction and others that are not seen, separators of lines, halves
# of surrogate pairs; not the joiners, which letters and signs of several scripts are made with
_UNSEEN = (
    r"\x7f-\x9f\xad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    r"\ud800-\udfff\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e007f"
)
_FIRST, _LAST = 0.0, 253_000_000_000.0
"""1970 to 9987, as UNIX times."""

_CONTROL = re.compile(rf"[\x00-\x1f{_UNSEEN}]")
_CONTROL_BUT_LINES = re.compile(rf"[\x00-\x08\x0b-\x1f{_UNSEEN}]")
_IN_JSON = re.compile(rf"[{_UNSEEN}]")


def harmless(text: str) -> str:
    """A text on one line, with control characters and escapes shown instead of obeyed."""
    return _CONTROL.sub(_escape, text)


def harmless_lines(text: str) -> str:
    """The same for a text of several lines: line ends and tabs stay."""
    return _CONTROL_BUT_LINES.sub(_escape, text)


def harmless_block(text: str) -> str:
    """The same, indented: none of its lines can be taken for one of ours."""
    return indent(harmless_lines(text).rstrip(), "  ", lambda _: True)


def _escape(found: re.Match[str]) -> str:
    return found.group().encode("unicode_escape").decode("ascii")


def dumps(value: Any) -> str:
    """JSON on one line; text that is no Unicode, and numbers that are no JSON, become text.

    What would act on a terminal is written as JSON's own escapes: it is read back as it was.
    """
    text = json.dumps(_plain(value), ensure_ascii=False, separators=(", ", ": "))
    return harmless_json(text)


def harmless_json(text: str) -> str:
    """JSON with the same meaning, and nothing that acts on a terminal but the ends of lines."""
    return _IN_JSON.sub(lambda found: json.dumps(found.group())[1:-1], text)


def _plain(value: Any, levels: int = DATA_DEPTH) -> Any:
    """What ``json`` can write; what is nested deeper than so many levels is left out."""
    if isinstance(value, dict | list | tuple):
        if not levels:
            return "…"
        if isinstance(value, dict):
            return {_text(key): _plain(part, levels - 1) for key, part in value.items()}
        return [_plain(part, levels - 1) for part in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return _text(value) if isinstance(value, str | bytes) else value


def _text(value: Any) -> str:
    text = value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
    return text.encode("utf-8", "backslashreplace").decode()


def value_text(shown: Shown | None) -> str:
    """A result as ``run`` prints it: text bare, JSON as it is, anything else as it was shown."""
    if shown is None:
        return ""
    exact, value = _exact(shown)
    if exact:
        bare = isinstance(value, str) and shown.type_name in ("str", "builtins.str")
        return str(value) if bare else harmless_json(shown.text)
    return shown.text


def is_data(shown: Shown | None) -> bool:
    """Whether a result's text is data, which is given as it is where no terminal reads it."""
    return shown is not None and _exact(shown)[0]


def value_line(shown: Shown | None) -> str:
    """A result on one line, as ``map`` prints it: a text with line ends stays in its quotes."""
    if shown is None:
        return ""
    text = value_text(shown)
    if _CONTROL.search(text) is None:
        return text
    exact, value = _exact(shown)
    return dumps(value) if exact else harmless(text)


def value_json(shown: Shown | None) -> dict[str, Any]:
    """A result in a JSON record: ``value`` where it is exact, else ``repr`` and ``type``."""
    if shown is None:
        return {}
    exact, value = _exact(shown)
    return {"value": value} if exact else {"repr": shown.text, "type": shown.type_name}


def _exact(shown: Shown) -> tuple[bool, Any]:
    """Whether a result is there as JSON, and the value. A worker may say so, and it is not."""
    if not shown.exact:
        return False, None
    try:
        value = json.loads(shown.text)
    except (ValueError, RecursionError):
        return False, None
    return (False, None) if _is_deep(value) else (True, value)


def _is_deep(value: Any) -> bool:
    """Whether ``dumps`` would not write all of a value that was JSON."""
    level = [value]
    for _ in range(DATA_DEPTH):
        level = [
            part
            for one in level
            if isinstance(one, dict | list)
            for part in (one.values() if isinstance(one, dict) else one)
        ]
        if not level:
            return False
    return True


def rfc3339(seconds: float | None) -> str | None:
    """UNIX time as RFC 3339 in UTC, with milliseconds."""
    if seconds is None:
        return None
    moment = _moment(seconds)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def local_time(seconds: float | None, now: float | None = None) -> str:
    """UNIX time in the local zone; without the date where ``now`` is on the same day."""
    if seconds is None:
        return ""
    moment = _moment(seconds).astimezone()
    if now is not None and datetime.datetime.fromtimestamp(now).date() == moment.date():
        return moment.strftime("%H:%M:%S")
    return moment.strftime("%Y-%m-%d %H:%M:%S")


def _moment(seconds: float) -> datetime.datetime:
    """The nearest moment of the years that a calendar has: a worker may claim any."""
    return datetime.datetime.fromtimestamp(min(max(seconds, _FIRST), _LAST), datetime.UTC)


def span(seconds: float | None) -> str:
    """A length of time: ``840 µs``, ``12 ms``, ``3.2 s``, ``5 m 12 s``, ``2 h 3 m``."""
    if seconds is None:
        return ""
    if seconds < 0.001:
        return f"{seconds * 1e6:.0f} µs"
    if seconds < 1:
        return f"{seconds * 1e3:.0f} ms"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} m" if hours else f"{minutes} m {rest} s"


def byte_count(number: float | None) -> str:
    """A size: ``512 B``, ``1.5 MiB``."""
    if number is None:
        return ""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if number < 1024:
            return f"{number:.0f} {unit}" if unit == "B" else f"{number:.1f} {unit}"
        number /= 1024
    return f"{number:.1f} TiB"


def call_text(spec: JobSpec, payload: Payload | None, size: int) -> str:
    """A job's call as Python would write it, a command as a shell would.

    A pickled payload is not opened: ``render(…pickled, 512 B)``.
    """
    if not isinstance(payload, bytes) or (spec.kind != "command" and spec.arguments == "pickle"):
        what = "pickled, " if spec.arguments == "pickle" and spec.kind != "command" else ""
        return harmless(f"{spec.target}(…{what}{byte_count(size)})")
    try:
        return _cap(harmless(_opened(spec, payload)))
    except (Malformed, ValueError, TypeError, AttributeError, RecursionError):
        return harmless(f"{spec.target}(…damaged, {byte_count(size)})")


def _opened(spec: JobSpec, payload: bytes) -> str:
    given = unpack_arguments(payload)
    if spec.kind == "command":
        import shlex

        return shlex.join(given)
    args, kwargs = given
    words = [repr(value) for value in args]
    words += [f"{name}={value!r}" for name, value in kwargs.items()]
    return f"{spec.target.replace(':', '.')}({', '.join(words)})"


def _cap(text: str) -> str:
    return text if len(text) <= CALL_WIDTH else f"{text[:CALL_WIDTH]}… ({len(text)} characters)"
