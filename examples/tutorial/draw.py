"""Chapters 10 and 11. A job for the command line: draw a picture, and hang it up."""

from __future__ import annotations

from mailroom import hang, render


def draw(message: str) -> int:
    """The picture's size in bytes; the picture itself hangs where the job ran."""
    picture = render(message)
    hang(message, picture)
    return len(picture)


def sky(message: str) -> None:
    """A picture as large as the sky: it is never done."""
    print("drawing", message, "as large as the sky")
    while True:
        render(message)
