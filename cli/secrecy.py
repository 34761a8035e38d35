"""A token given on a command line does not stay there: ``ps`` shows everybody's."""

from __future__ import annotations

import os
import sys

TOKEN_PREFIX = "#amp"  # noqa: S105  # the mark before a token, not a token


def without_token(words: list[str]) -> list[str]:
    """The words; where one of them carries a token, this process starts anew without it.

    ``host:8786#TOKEN`` becomes ``host:8786 --token-fd N``, N being a pipe that holds the token.
    """
    for place, word in enumerate(words):
        address, mark, token = word.partition("#")
        if mark and token:
            fd = _pipe_with(token)
            _start_anew(
                [*words[:place], "--token-fd", str(fd), *_left(address), *words[place + 1 :]]
            )
    return words


def _left(address: str) -> list[str]:
    return [address] if address else []


def _pipe_with(text: str) -> int:
    reading, writing = os.pipe()
    os.write(writing, text.encode(errors="surrogateescape")[:4096])
    os.close(writing)
    os.set_inheritable(reading, True)
    return reading


def _start_anew(words: list[str]) -> None:
    flags = [] if sys.flags.safe_path else ["-P"]
    sys.stdout.flush()
    os.execv(  # noqa: S606  # the same program, with other words
        sys.executable, [sys.executable, *flags, "-m", "ampacity.cli.entry", *words]
    )


def read_token(fd: int) -> str:
    """The token in an inherited pipe."""
    with os.fdopen(fd, "rb") as pipe:
        return pipe.read(4096).decode(errors="replace").strip()
