"""Plain data: what a value may hold that travels without a pickle, and how it is packed.

Reading it makes nothing but what is named here, whoever has sent it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

from .errors import Malformed, NotPlainData
from .limits import DATA_DEPTH
from .packing import new_argument_packer, unpack_arguments

_SCALARS = frozenset({type(None), bool, int, float, str, bytes})
_KEYS = frozenset({str, int})
_ALL = _SCALARS | {list, dict}

_RULE = "plain data is None, bool, int, float, str, bytes, and lists and dicts of such"
_INSTEAD = {
    "tuple": "a list would be",
    "set": "a list would be",
    "frozenset": "a list would be",
    "bytearray": "bytes would be",
    "memoryview": "bytes would be",
    "numpy.ndarray": "its tolist() would be",
    "datetime.datetime": "its isoformat() would be",
    "datetime.date": "its isoformat() would be",
    "decimal.Decimal": "its str() would be",
    "pathlib.PosixPath": "its str() would be",
}


def pack_plain(value: Any) -> bytes:
    """Pack plain data, exactly: a subclass of one of its types is another type.

    Raises:
        NotPlainData: naming what is none, and where it is.
    """
    if not _is_plain(value):
        raise NotPlainData(_fault(value))
    try:
        return new_argument_packer().pack(value)
    except (ValueError, OverflowError) as e:
        raise NotPlainData(f"the result is plain data, and cannot be packed: {e}") from None


def unpack_plain(data: bytes) -> Any:
    """Unpack plain data.

    Raises:
        Malformed: it is none.
    """
    value = unpack_arguments(data)
    if not _is_plain(value):
        raise Malformed(f"this is no plain data: {_fault(value)}")
    return value


def _is_plain(value: Any) -> bool:
    """Looks level by level, at each list and dict of a level once: one may hold itself."""
    if type(value) in _SCALARS:
        return True
    level: Iterable[Any] = (value,)
    if not _ALL.issuperset(map(type, level)):
        return False
    for _ in range(DATA_DEPTH):
        below: dict[int, Any] = {}
        for one in level:
            items = one
            if type(one) is dict:
                if not _KEYS.issuperset(map(type, one)):
                    return False
                items = one.values()
            kinds = set(map(type, items))
            if kinds <= _SCALARS:
                continue
            if not kinds <= _ALL:
                return False
            below.update((id(item), item) for item in items if type(item) not in _SCALARS)
        if not below:
            return True
        level = below.values()
    return False


# -- what to say of the rest -----------------------------------------------------------------------


def _fault(value: Any) -> str:
    """What is no plain data in a value that is none, the first of it, and where."""
    level = [("result", value)]
    for _ in range(DATA_DEPTH + 1):
        below: dict[int, tuple[str, Any]] = {}
        for path, one in level:
            kind = type(one)
            if kind not in _ALL:
                return _other(path, one)
            if kind is dict:
                for key in one:
                    if type(key) not in _KEYS:
                        return f"a key of {path} is {_named(key)}; keys are str or int"
            for where, item in _items(path, one):
                below.setdefault(id(item), (where, item))
        level = list(below.values())
    return f"the result is nested deeper than {DATA_DEPTH} levels"


def _items(path: str, value: Any) -> Iterator[tuple[str, Any]]:
    if type(value) in _SCALARS:
        return
    for key, item in value.items() if type(value) is dict else enumerate(value):
        if type(item) not in _SCALARS:
            yield _short(f"{path}[{_shown(key)}]"), item


def _shown(key: str | int) -> str:
    return json.dumps(key)[:60] if type(key) is str else str(key)


def _short(path: str) -> str:
    return path if len(path) <= _PATH else f"{path[: _PATH // 2]}…{path[-_PATH // 2 :]}"


_PATH = 400


def _other(path: str, value: Any) -> str:
    name = _type_name(value)
    of_numpy = "its item() would be" if name.startswith("numpy.") else None
    instead = _INSTEAD.get(name, of_numpy)
    return f"{path} is {_named(value)}, no plain data{f' ({instead})' if instead else ''}; {_RULE}"


def _named(value: Any) -> str:
    name = _type_name(value)
    return f"a {name}" if name[0].lower() not in "aeiou" else f"an {name}"


def _type_name(value: Any) -> str:
    kind = type(value)
    module = kind.__module__.removesuffix("._local")  # where Python 3.13 has pathlib's classes
    return kind.__qualname__ if module == "builtins" else f"{module}.{kind.__qualname__}"
