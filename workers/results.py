"""What a call gave, made ready to travel: pickled, spilled to a file where large, shown as text."""

from __future__ import annotations

import builtins
import contextlib
import hashlib
import json
import math
import pickle
import reprlib
import threading
import traceback
from pathlib import Path
from typing import Any

from ..protocol.buffers import write_in_parts
from ..protocol.jobs import BlobRef
from ..protocol.limits import INLINE_LIMIT, SHOWN_FULL, SHOWN_SHORT, TRACEBACK_LIMIT
from ..protocol.outcomes import ErrorText, Shown
from .beside import dump_beside

_PLAIN = frozenset({type(None), bool, int, float})
_OWN_FILES = frozenset(
    str(Path(__file__).with_name(f"{name}.py")) for name in ("results", "calls", "child", "stage")
)


_LARGE = 8 * 1024**2
"""Bytes of a value from which on it is hashed while it is written."""

_COPIED = 4 * 1024**2
"""Bytes that are copied at once, of what is not pickled into a copy of its own."""


class Sink:
    """A file for pickles: in memory up to ``INLINE_LIMIT``, then on disk, hashed on the way."""

    __slots__ = ("_file", "_hash", "_parts", "_path", "size")

    def __init__(self, path: Path) -> None:
        self._path = path
        self._parts: list[bytes] = []
        self._file: Any = None
        self._hash = hashlib.sha256()
        self.size = 0

    def write(self, data: Any) -> int:
        """Take bytes, or anything with a contiguous buffer."""
        count = len(data) if type(data) is bytes else memoryview(data).nbytes
        self.size += count
        if self._file is None:
            if self.size <= INLINE_LIMIT:
                self._parts.append(bytes(data))
                return count
            self._file = self._path.open("wb")
            for part in self._parts:
                self._put(part)
        self._put(data)
        return count

    def _put(self, data: Any) -> None:
        if self.size < _LARGE:
            if type(data) is not bytes:  # may change meanwhile: what is hashed is what is written
                data = bytes(data)
            self._hash.update(data)
            self._file.write(data)
        elif type(data) is bytes:
            self._put_both(data)
        else:
            view, room = memoryview(data).cast("B"), memoryview(bytearray(_COPIED))
            for at in range(0, view.nbytes, _COPIED):
                part = room[: min(_COPIED, view.nbytes - at)]
                part[:] = view[at : at + _COPIED]
                self._put_both(part)

    def _put_both(self, data: bytes | memoryview) -> None:
        hashing = threading.Thread(target=self._hash.update, args=(data,))
        hashing.start()  # neither of the two holds the interpreter's lock meanwhile
        try:
            write_in_parts(self._file, data)
        finally:
            hashing.join()

    def close(self) -> tuple[bytes | BlobRef, str | None]:
        """The bytes; or, where they were spilled, a reference and the file's path."""
        if self._file is None:
            return b"".join(self._parts), None
        self._file.close()
        return BlobRef(self._hash.digest(), self.size), str(self._path)

    def discard(self) -> None:
        """Forget what was written."""
        if self._file is not None:
            self._file.close()
            self._path.unlink(missing_ok=True)


def pickle_into(sink: Sink, value: Any, by_value: bool) -> None:
    """Pickle to a sink. ``by_value``: classes that are not importable here travel whole.

    Raises:
        Exception: whatever pickling the value raises.
    """
    try:
        if not dump_beside(sink, value):
            pickle.Pickler(sink, protocol=5).dump(value)
    except Exception:
        if not by_value:
            raise
        sink.discard()
        sink.__init__(sink._path)  # type: ignore[misc]  # begins anew
        import cloudpickle

        cloudpickle.Pickler(sink, protocol=5).dump(value)


_encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False).encode


def plain(value: Any) -> tuple[bytes, Shown] | None:
    """What most small jobs give, pickled and shown without further ado; None for all else."""
    kind = type(value)
    if kind is int:
        if -_HUGE < value < _HUGE:
            return pickle.dumps(value, 5), _new(Shown, (True, "int", repr(value)))
    elif kind is float or kind is bool or (kind is str and len(value) <= _SMALL):
        try:
            text = _encode(value)
        except ValueError:  # not finite
            return None
        if len(text) <= SHOWN_SHORT and text.isprintable():
            return pickle.dumps(value, 5), _new(Shown, (True, kind.__name__, text))
    return None


_HUGE = 1 << 64
_new = tuple.__new__  # half the time of a named tuple's own constructor


_SMALL = SHOWN_SHORT // 2


def show(value: Any, full: bool) -> Shown:
    """A value as text: exact JSON where it is plain data, else its capped ``repr``."""
    limit = SHOWN_FULL if full else SHOWN_SHORT
    kind = type(value)
    name = f"{kind.__module__}.{kind.__qualname__}" if kind.__module__ != "builtins" else ""
    if kind in _PLAIN or (kind is str and len(value) <= limit) or _is_json(value, limit):
        with contextlib.suppress(ValueError, RecursionError):
            text = _encode(value)
            if len(text) <= limit:
                return Shown(True, name or kind.__qualname__, clean(text))
    return Shown(False, name or kind.__qualname__, clean(_capped_repr(value, limit, full)))


def _is_json(value: Any, budget: int) -> bool:
    """Whether JSON gives back exactly this value, as far as ``budget`` items show."""
    todo = [value]
    while todo:
        budget -= 1
        item = todo.pop()
        kind = type(item)
        if kind is dict:
            if any(type(key) is not str for key in item):
                return False
            todo.extend(item.values())
        elif kind is list:
            todo.extend(item)
        elif kind is float:
            if not math.isfinite(item):
                return False
        elif kind is not str and kind not in _PLAIN:
            return False
        if budget < len(todo):
            return False
    return True


def _capped_repr(value: Any, limit: int, full: bool) -> str:
    try:
        if type(value) is int:
            text = hex(value)  # only those come here that Python refuses to write as decimals
        elif full and type(value).__module__ != "builtins":
            text = repr(value)
        else:
            short = _Short()
            short.maxstring = short.maxother = short.maxlong = limit
            short.maxlist = short.maxtuple = short.maxset = short.maxdict = 1000 if full else 50
            text = short.repr(value)
    except Exception as e:  # noqa: BLE001  # code of the user's
        return f"<{type(value).__qualname__}; its repr raised {type(e).__name__}>"
    return text if len(text) <= limit else text[: limit - 1] + "…"


class _Short(reprlib.Repr):
    """Bytes, too, are cut before their text is made: it is up to four times as long."""

    def repr_bytes(self, value: bytes | bytearray, level: int) -> str:
        """As ``reprlib`` shows text: the beginning and the end."""
        if len(value) <= self.maxother:
            return repr(value)
        half = self.maxother // 8
        return f"{value[:half]!r}...{bytes(value[-half:])!r}"

    repr_bytearray = repr_bytes


def clean(text: str) -> str:
    """Text that UTF-8 can carry: lone surrogates are written as escapes."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "backslashreplace").decode()
    return text


def describe(error: BaseException) -> ErrorText:
    """An exception as text; frames of ampacity above the job's own are left out."""
    kind = type(error)
    name = (
        kind.__qualname__
        if kind.__module__ == "builtins"
        else f"{kind.__module__}.{kind.__qualname__}"
    )
    try:
        message = str(error)
    except Exception as e:  # noqa: BLE001  # code of the user's
        message = f"<its text raised {type(e).__name__}>"
    return ErrorText(clean(name), clean(message)[:TRACEBACK_LIMIT], clean(_traceback(error)))


def _traceback(error: BaseException) -> str:
    frames = error.__traceback__
    while frames is not None and frames.tb_frame.f_code.co_filename in _OWN_FILES:
        frames = frames.tb_next
    try:
        text = "".join(traceback.format_exception(type(error), error, frames))
    except Exception as e:  # noqa: BLE001  # code of the user's
        text = f"<the traceback could not be made: {type(e).__name__}>"
    if len(text) <= TRACEBACK_LIMIT:
        return text
    half = TRACEBACK_LIMIT // 2 - 20
    return f"{text[:half]}\n... (cut) ...\n{text[-half:]}"


def pickle_error(error: BaseException, by_value: bool, folder: Path) -> bytes | None:
    """A pickled exception that is known to unpickle; None where it does not."""
    sink = Sink(folder / "error")
    try:
        pickle_into(sink, error, by_value)
        value, path = sink.close()
        if path is not None or type(value) is not bytes:
            sink.discard()
            return None
        if getattr(builtins, type(error).__name__, None) is not type(error):
            again = pickle.loads(value)  # noqa: S301  # the job's own process and bytes
            if type(again) is not type(error):
                return None
    except Exception:  # noqa: BLE001  # code of the user's
        sink.discard()
        return None
    return value
