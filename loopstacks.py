"""What a loop has called, and which of it is to blame."""

from __future__ import annotations

import functools
import os
import site
import sysconfig
import traceback
from collections.abc import Sequence
from types import CodeType, FrameType

import twisted

_DEPTH = 40
"""Functions of a stack that are shown, the innermost."""

_TWISTED = os.path.dirname(os.path.abspath(twisted.__file__))  # noqa: PTH100, PTH120  # a text


def stack_of(frame: FrameType | None) -> list[FrameType]:
    """The frame and its callers, the outermost first."""
    frames = []
    while frame is not None:
        frames.append(frame)
        frame = frame.f_back
    return frames[::-1]


def codes_of(frame: FrameType) -> list[CodeType]:
    """The functions of a stack, without keeping it."""
    return [one.f_code for one in stack_of(frame)]


def called_by(base: Sequence[CodeType], innermost: FrameType | None) -> list[FrameType]:
    """The part of a stack that a loop has called, the outermost first; nothing where it waits.

    ``base``: the functions that are on the stack whatever the loop calls.
    """
    frames = stack_of(innermost)
    common = 0
    for frame, code in zip(frames, base, strict=False):
        if frame.f_code is not code:
            break
        common += 1
    called = frames[common:]
    return [] if called and _waits(called[-1].f_code) else called


def _waits(code: CodeType) -> bool:
    """Whether this is where a reactor waits for what happens next, and holds nothing."""
    folder, name = os.path.split(code.co_filename)
    if name == "selectors.py":
        return True
    return name.endswith("reactor.py") and folder == os.path.join(_TWISTED, "internet")  # noqa: PTH118  # a text


def to_blame(frames: Sequence[FrameType]) -> FrameType:
    """The innermost one of the program's own; without one, of what is installed; or of all."""
    return min(reversed(frames), key=lambda frame: _strangeness(frame.f_code.co_filename))


@functools.cache
def _strangeness(file: str) -> int:
    """0 for the program's own code, 1 for what is installed, 2 for Twisted and the interpreter."""
    if file.startswith((_TWISTED + os.sep, "<frozen ")):
        return 2
    if file.startswith(_installed()):
        return 1
    return 2 if file.startswith(_interpreter()) else 0


@functools.cache
def _installed() -> tuple[str, ...]:
    return _folders("purelib", "platlib", *site.getsitepackages(), site.getusersitepackages())


@functools.cache
def _interpreter() -> tuple[str, ...]:
    return _folders("stdlib", "platstdlib")


def _folders(*names: str) -> tuple[str, ...]:
    """Folders by their names in ``sysconfig``, or by their paths."""
    paths = [name if os.sep in name else sysconfig.get_path(name) for name in names]
    return tuple(os.path.abspath(path) + os.sep for path in paths)  # noqa: PTH100  # texts


def place_of(frame: FrameType) -> str:
    """``file:line in function``."""
    code = frame.f_code
    return f"{code.co_filename}:{frame.f_lineno} in {code.co_qualname}"


def text_of(frames: Sequence[FrameType]) -> str:
    """The stack, as a traceback shows it."""
    shown = ((frame, frame.f_lineno) for frame in frames[-_DEPTH:])
    return "".join(traceback.StackSummary.extract(shown).format())
