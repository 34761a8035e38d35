"""A call, packed for another process: the arguments' pickle, and whose fault it is if it fails."""

from __future__ import annotations

import inspect
import pickle
from typing import Any

import cloudpickle

from ..protocol.errors import NotPackable
from . import buffers
from .buffers import Pieces
from .functions import Travelling

_NOTHING: dict[str, Any] = {}

_SMALL = frozenset({int, float, bool, type(None)})
"""Types that hold no code and no buffer."""


def pack_arguments(
    way: Travelling, args: tuple[Any, ...], kwargs: dict[str, Any] = _NOTHING
) -> tuple[bytes | Pieces, bool]:
    """The pickled ``(args, kwargs)``, and whether it holds code: then only the same Python fits.

    Raises:
        NotPackable: one of them cannot be pickled.
    """
    try:
        if not kwargs and _SMALL.issuperset(map(type, args)):
            return pickle.dumps((args, kwargs), 5), False
        packed, whole = buffers.dump(args, kwargs)
        if b"__main__" not in packed:
            return packed if whole is None else whole, False
    except Exception:  # noqa: BLE001, S110  # told below, if nothing can be done
        pass
    try:
        return cloudpickle.dumps((args, kwargs), protocol=5), True
    except Exception as e:
        raise _whose_fault(way, args, kwargs, e) from e


def dump(value: Any) -> tuple[bytes, bool]:
    """A pickle that another process can load, and whether code of ours is in it by value.

    The plain pickler is several times as fast, and right unless it refers to ``__main__``, which
    is another module there.
    """
    try:
        packed = pickle.dumps(value, 5)
    except Exception:  # noqa: BLE001  # lambdas, local classes: what cloudpickle is for
        return cloudpickle.dumps(value, protocol=5), True
    if b"__main__" in packed:
        return cloudpickle.dumps(value, protocol=5), True
    return packed, False


def _whose_fault(
    way: Travelling, args: tuple[Any, ...], kwargs: dict[str, Any], error: Exception
) -> NotPackable:
    for name, value in _named(way.signature, args, kwargs):
        try:
            dump(value)
        except Exception as e:  # noqa: BLE001  # whatever a user's __reduce__ raises
            return NotPackable(
                f"the argument {name} of {way.target}, a {type(value).__qualname__}, "
                f"cannot be packed: {e}"
            )
    return NotPackable(f"the arguments of {way.target} cannot be packed together: {error}")


def _named(
    signature: inspect.Signature | None, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> list[tuple[str, Any]]:
    names = list(signature.parameters.values()) if signature is not None else []
    shown = []
    for place, value in enumerate(args):
        known = place < len(names) and names[place].kind is not inspect.Parameter.VAR_POSITIONAL
        shown.append((repr(names[place].name) if known else f"number {place + 1}", value))
    return shown + [(repr(name), value) for name, value in kwargs.items()]
