"""How calls are packed."""

from __future__ import annotations

import functools
import gc
import math
import pickle
import sys
import types
import weakref
from typing import Any

import pytest
from ampacity.client.calls import dump, pack_arguments
from ampacity.client.functions import import_name, travelling
from ampacity.protocol.errors import NotPackable


class Shape:
    @classmethod
    def of(cls, sides: int) -> Shape:
        return cls()

    @staticmethod
    def area(width: int) -> int:
        return width

    def draw(self) -> None: ...


def module_level(a: int, b: int = 2, *, c: int = 3) -> int:
    return a + b + c


@pytest.mark.parametrize(
    ("function", "name"),
    [
        (math.factorial, "math:factorial"),
        (len, "builtins:len"),
        (str.upper, "builtins:str.upper"),
        (pickle.dumps, "_pickle:dumps"),
        (Shape.of, f"{__name__}:Shape.of"),
        (Shape.area, f"{__name__}:Shape.area"),
        (Shape.draw, f"{__name__}:Shape.draw"),
        (Shape, f"{__name__}:Shape"),
        (module_level, f"{__name__}:module_level"),
    ],
)
def test_by_name(function, name):
    assert import_name(function) == name
    assert travelling(function).kind == "import"


def _nested() -> Any:
    def inner() -> Any:
        return 1

    return inner


_homeless = types.FunctionType(module_level.__code__, globals(), "module_level")


@pytest.mark.parametrize(
    "function",
    [lambda: 1, _nested(), functools.partial(module_level, 1), Shape().draw, [].append, _homeless],
)
def test_by_value(function):
    assert import_name(function) is None
    way = travelling(function)
    assert way.kind == "value"
    assert pickle.loads(way.code) is not None


def test_what_a_script_defines_goes_by_value(monkeypatch):
    main = types.ModuleType("__main__")
    exec("def double(n):\n    return n * 2", main.__dict__)
    monkeypatch.setitem(sys.modules, "__main__", main)
    assert import_name(main.double) is None


def test_a_module_without_a_spec_cannot_be_imported_elsewhere(monkeypatch):
    cell = types.ModuleType("made_up")
    exec("def double(n):\n    return n * 2", cell.__dict__)
    monkeypatch.setitem(sys.modules, "made_up", cell)
    assert import_name(cell.double) is None


def test_a_function_by_name_is_packed_once():
    assert travelling(math.sqrt) is travelling(math.sqrt)


def test_a_function_that_stands_alone_is_packed_once():
    def alone(n: int) -> float:
        return math.sqrt(len(range(n)))

    assert travelling(alone) is travelling(alone)


def test_a_closure_is_packed_again_when_what_it_closes_over_has_changed():
    offset, seen = 1, []

    def closure(n: int) -> Any:
        return n + offset

    def growing(n: int) -> Any:
        return [*seen, n]

    before = travelling(closure)
    assert travelling(closure) is before
    offset = 2
    assert pickle.loads(travelling(closure).code)(1) == 3
    offset = 1
    assert travelling(closure).ref == before.ref
    assert travelling(growing) is not travelling(growing)


_SCRIPT = """
import math
FACTOR, TABLE = 2, [1]

def inner(n):
    return n * FACTOR

def work(n):
    return inner(n) + math.floor(0.5)

def even(n):
    return n == 0 or odd(n - 1)

def odd(n):
    return n != 0 and even(n - 1)

def looked_up(n):
    return TABLE[0] * n

def later(n):
    return not_there_yet(n)

def inner_of_another(n):
    return -n
"""


@pytest.fixture
def script(monkeypatch):
    main = types.ModuleType("__main__")
    exec(_SCRIPT, main.__dict__)
    monkeypatch.setitem(sys.modules, "__main__", main)
    return main


def run_packed(function: Any, *args: Any) -> Any:
    return pickle.loads(travelling(function).code)(*args)


def test_a_function_of_a_script_is_packed_once_while_nothing_changes(script):
    for function in (script.work, script.even):
        assert travelling(function) is travelling(function)
    assert run_packed(script.even, 4) is True
    assert travelling(script.looked_up) is not travelling(script.looked_up)
    assert travelling(script.later) is not travelling(script.later)


def test_what_changes_in_a_script_is_packed_again(script):
    assert run_packed(script.work, 5) == 10
    script.FACTOR = 3
    assert run_packed(script.work, 5) == 15
    script.inner.__code__ = script.inner_of_another.__code__
    assert run_packed(script.work, 5) == -5
    exec("def inner(n):\n    return n + OFFSET\nOFFSET = 7", script.__dict__)
    assert run_packed(script.work, 5) == 12
    script.OFFSET = 8
    assert run_packed(script.work, 5) == 13
    exec("def math_floor(n): return 100\nclass math: floor = math_floor", script.__dict__)
    assert run_packed(script.work, 5) == 113


def test_a_new_global_in_the_place_of_a_built_in_is_seen(script):
    exec("def size(n):\n    return len(n) * FACTOR", script.__dict__)
    assert run_packed(script.size, "abc") == 6
    exec("def len(n):\n    return 10", script.__dict__)
    assert run_packed(script.size, "abc") == 20


def test_defaults_that_change_are_seen(script):
    exec("def most(n, m=1):\n    return n * m * FACTOR", script.__dict__)
    assert run_packed(script.most, 3) == 6
    script.most.__defaults__ = (2,)
    assert run_packed(script.most, 3) == 12
    script.most.__defaults__ = ([],)
    assert travelling(script.most) is not travelling(script.most)


def test_a_function_that_was_packed_is_let_go():
    space: dict[str, Any] = {"__name__": "__main__"}
    exec(_SCRIPT, space)
    for name in ("work", "even", "odd"):
        travelling(space[name])
    gone = [weakref.ref(space[name]) for name in ("work", "even", "odd", "inner")]
    del space
    gc.collect()
    assert [one() for one in gone] == [None] * 4


@pytest.mark.parametrize(
    ("args", "kwargs"),
    [((), {}), ((1, 2, 3), {}), ((1,), {"a": 1}), ((1,), {"d": 1})],
)
def test_arguments_that_do_not_bind(args, kwargs):
    with pytest.raises(TypeError, match="module_level"):
        travelling(module_level).check(args, kwargs)


@pytest.mark.parametrize(
    ("args", "kwargs"),
    [((1,), {}), ((1, 2), {}), ((1,), {"c": 1}), ((), {"a": 1, "b": 1})],
)
def test_arguments_that_bind(args, kwargs):
    travelling(module_level).check(args, kwargs)


def test_no_signature_no_check():
    travelling(max).check((1, 2, 3, 4, 5), {})


def test_the_argument_at_fault_is_named():
    generator = (n for n in range(3))
    way = travelling(module_level)
    with pytest.raises(NotPackable, match=r"the argument 'b' of .*module_level, a generator"):
        pack_arguments(way, (1, generator))
    with pytest.raises(NotPackable, match="the argument 'c'"):
        pack_arguments(way, (1,), {"c": generator})
    with pytest.raises(NotPackable, match="the argument number 1 of builtins:print"):
        pack_arguments(travelling(print), (generator,))


def test_a_function_that_cannot_be_packed():
    generator = (n for n in range(3))
    with pytest.raises(NotPackable, match=r"the function .* cannot be packed"):
        travelling(lambda: generator)


def test_code_in_arguments_is_noticed():
    assert dump([1, "text"])[1] is False
    packed, by_value = dump(lambda: 7)
    assert by_value
    assert pickle.loads(packed)() == 7
