"""Tokens do not stay where others see them: in the words of a process, in its environment, in its
memory image. This imports next to nothing: it is what a command line begins with."""

from __future__ import annotations

import os
import sys

_TOKEN = "amp1."  # noqa: S105  # how a token begins, not a token

_MOST_BYTES = 4096  # less than any pipe holds


def without_token(words: list[str]) -> list[str]:
    """The words of a command line; where ``join`` is given a token among them, this process
    starts anew without it, before anything else: ``ps`` shows everybody's words.

    ``host:8786#TOKEN`` becomes ``host:8786 --token-fd N``, N being a pipe that holds the token. A
    token that stands alone, or is damaged, goes the same way.
    """
    if not _joins(words):
        return words
    for place, word in enumerate(words):
        address, token = _parted(word, words[place - 1] if place else "")
        if token:
            fd = _pipe_with(token)
            left = [address] if address else []
            _start_anew([*words[:place], "--token-fd", str(fd), *left, *words[place + 1 :]])
    return words


def _joins(words: list[str]) -> bool:
    """Whether the command is ``join``: what stands before it are options and their values."""
    if "join" not in words:
        return False
    before = words[: words.index("join")]
    return all(
        word.startswith("-") or (place and before[place - 1].startswith("--"))
        for place, word in enumerate(before)
    )


def _parted(word: str, before: str) -> tuple[str, str]:
    """An address and the token in a word; no token, where it is none."""
    if word.startswith(_TOKEN):
        return "", word
    address, mark, token = word.partition("#")
    of_option = before.startswith("--") and "=" not in before and before != "--coordinator"
    if mark and (token.startswith("amp") or not (of_option or word.startswith("-"))):
        return address, token
    return word, ""


def _pipe_with(text: str) -> int:
    reading, writing = os.pipe()
    os.write(writing, text.encode(errors="surrogateescape")[:_MOST_BYTES])
    os.close(writing)
    os.set_inheritable(reading, True)
    return reading


def _start_anew(words: list[str]) -> None:
    os.execv(  # noqa: S606  # the same program, with other words
        sys.executable, [sys.executable, "-P", "-m", "ampacity.cli.entry", *words]
    )


def read_token(fd: int) -> str:
    """The token in an inherited pipe, which is closed."""
    with os.fdopen(fd, "rb") as pipe:
        return pipe.read(_MOST_BYTES).decode(errors="replace").strip()


# -- what a service does once it has read its settings ---------------------------------------------


def forget_tokens() -> None:
    """Take tokens out of this process's environment: out of what its children inherit, and of
    what ``/proc/PID/environ`` shows of it."""
    for name in [name for name, text in os.environ.items() if _carries_token(name, text)]:
        _wipe(name)
        del os.environ[name]


def _carries_token(name: str, text: str) -> bool:
    if not name.startswith("AMPACITY_"):
        return False
    named = name == "AMPACITY_TOKEN" or (name == "AMPACITY_COORDINATOR" and "#" in text)
    return named or _TOKEN in text


def _wipe(name: str) -> None:
    """Overwrite the text of a variable where it lies: the kernel shows that place to others."""
    import ctypes

    try:
        getenv = ctypes.CDLL(None).getenv
    except (OSError, AttributeError):
        return
    getenv.restype, getenv.argtypes = ctypes.c_void_p, [ctypes.c_char_p]
    where = getenv(name.encode())
    if where:
        ctypes.memset(where, ord("-"), len(os.fsencode(os.environ[name])))


_PR_SET_DUMPABLE = 4


def keep_memory_private() -> None:
    """Linux: no core dump is made of this process, and no process of the same user reads its
    memory or environment, or traces it. What it executes is as ever. Debuggers need root."""
    if not sys.platform.startswith("linux"):
        return
    import contextlib
    import ctypes

    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
