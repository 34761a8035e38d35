"""How a task function travels: by name where the other side can import it, by value otherwise."""

from __future__ import annotations

import builtins
import hashlib
import inspect
import sys
from collections.abc import Callable
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import Any, Literal
from weakref import ref as weak

import attrs
import cloudpickle

from ..protocol.errors import NotPackable
from ..protocol.jobs import BlobRef
from .bindings import Bindings, global_names

Function = Callable[..., Any]

PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
"""What unpickles a function that travels by value: bytecode fits one minor version only."""

_MAIN = ("__main__", "__mp_main__")


@attrs.frozen(eq=False)
class Travelling:
    """A function, ready to travel, and which arguments it takes."""

    kind: Literal["import", "value"]
    target: str
    code: bytes = b""
    """The cloudpickle, by value."""
    ref: BlobRef | None = None
    signature: inspect.Signature | None = None
    least: int = -1
    most: int = -1
    """How many arguments fit where all are positional; ``most`` is -1 where nobody knows."""

    def check(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Raises TypeError: the function does not take these arguments."""
        if not kwargs and self.least <= len(args) <= self.most:
            return
        if self.signature is None:
            return
        try:
            self.signature.bind(*args, **kwargs)
        except TypeError as e:
            raise TypeError(f"{self.target}{self.signature}: {e}") from None


_KNOWN: dict[int, tuple[weak[Function], Travelling, Bindings | None]] = {}
"""By the identity of the function, for as long as it lives, and its bindings hold."""


def travelling(function: Function) -> Travelling:
    """The way that a function travels.

    Raises:
        TypeError: it is not callable.
        NotPackable: it travels by value and cannot be pickled.
    """
    known = _KNOWN.get(id(function))
    if known is not None and known[0]() is function and (known[2] is None or known[2].hold()):
        return known[1]
    if not callable(function):
        raise TypeError(f"a job calls a function, and {function!r:.80} cannot be called")
    target = import_name(function)
    if target is not None:
        packed = Travelling("import", target, b"", None, *_takes(function))
        # what any other object holds may change, and with it how it is called
        if isinstance(function, FunctionType | BuiltinFunctionType | type):
            _remember(function, packed)
    elif isinstance(function, FunctionType):
        packed = _by_value_while_it_holds(function)
    else:
        packed = _by_value(function)
    return packed


def _by_value_while_it_holds(function: FunctionType) -> Travelling:
    if _stands_alone(function):
        packed = _by_value(function)
        _remember(function, packed)
        return packed
    if cloudpickle.list_registry_pickle_by_value():
        return _by_value(function)  # with whole modules: nobody knows what changes in them
    try:
        bindings = Bindings(function, import_name)
    except ValueError:
        return _by_value(function)
    packed = _by_value(function)
    if bindings.hold():  # another thread may have changed something meanwhile
        _remember(function, packed, bindings)
    return packed


def _remember(function: Function, packed: Travelling, bindings: Bindings | None = None) -> None:
    place = id(function)
    _KNOWN[place] = (weak(function, lambda gone: _forget(place, gone)), packed, bindings)


def _forget(place: int, gone: weak[Function]) -> None:
    known = _KNOWN.get(place)
    if known is not None and known[0] is gone:  # another function may have its place by now
        del _KNOWN[place]


# -- by name --------------------------------------------------------------------------------------


def import_name(function: Function) -> str | None:
    """``module:qualified.name`` under which any process finds this very object, if there is one."""
    name = getattr(function, "__qualname__", None)
    module = sys.modules.get(_module_of(function) or "")
    if not isinstance(name, str) or module is None or not _can_be_imported(module):
        return None
    found: Any = module
    for part in name.split("."):
        found = getattr(found, part, None)
    # a class method is a new object at every look
    same = found is function or (inspect.ismethod(found) and found == function)
    return f"{module.__name__}:{name}" if same else None


def _module_of(function: Function) -> str | None:
    owner = getattr(function, "__objclass__", function)
    return getattr(owner, "__module__", None)


def _can_be_imported(module: ModuleType) -> bool:
    return module.__name__ not in _MAIN and getattr(module, "__spec__", None) is not None


# -- by value -------------------------------------------------------------------------------------


def _by_value(function: Function) -> Travelling:
    name = _shown_name(function)
    try:
        code = cloudpickle.dumps(function, protocol=5)
    except Exception as e:
        raise NotPackable(f"the function {name} cannot be packed: {e}") from e
    ref = BlobRef(hashlib.sha256(code).digest(), len(code))
    return Travelling("value", name, code, ref, *_takes(function))


def _shown_name(function: Function) -> str:
    name = getattr(function, "__qualname__", None) or type(function).__qualname__
    return str(name).replace("<locals>.", "")


def _stands_alone(function: Function) -> bool:
    """Whether a packed copy stays true: what it refers to cannot be bound anew behind our back."""
    if not isinstance(function, FunctionType) or function.__closure__ or function.__dict__:
        return False
    defaults = (*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values())
    if not all(isinstance(value, str | bytes | int | float | None) for value in defaults):
        return False
    known = function.__globals__
    return all(
        isinstance(known[name], ModuleType) if name in known else hasattr(builtins, name)
        for name in global_names(function.__code__)
    )


# -- the arguments --------------------------------------------------------------------------------


def _takes(function: Function) -> tuple[inspect.Signature | None, int, int]:
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return None, -1, -1
    least, most = 0, 0
    for parameter in signature.parameters.values():
        needed = parameter.default is parameter.empty
        match parameter.kind:
            case parameter.POSITIONAL_ONLY | parameter.POSITIONAL_OR_KEYWORD:
                least, most = least + needed, most + 1
            case parameter.VAR_POSITIONAL:
                most = sys.maxsize
            case parameter.KEYWORD_ONLY if needed:
                return signature, -1, -1
    return signature, least, most
