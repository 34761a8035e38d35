"""The permits of one child: a pipe with one byte for each job that it may begin.

The child takes a byte before each job; the agent takes bytes back to keep jobs from beginning.
The kernel gives each byte to one of them, so a job is begun or taken back and never both,
whatever the child is doing.
"""

from __future__ import annotations

import array
import fcntl
import os
import termios


class Permits:
    """The agent's end. ``child_end`` is the descriptor that the child inherits."""

    __slots__ = ("_write", "child_end")

    def __init__(self) -> None:
        self.child_end, self._write = os.pipe()
        os.set_blocking(self.child_end, False)
        os.set_blocking(self._write, False)

    def grant(self, count: int) -> None:
        """Let the child begin so many jobs more: at most a batch, which any pipe has room for."""
        os.write(self._write, b"." * count)

    def left(self) -> int:
        """How many jobs have not begun."""
        count = array.array("i", [0])
        fcntl.ioctl(self.child_end, termios.FIONREAD, count)
        return count[0]

    def take_back(self) -> int:
        """Take all that are left; these jobs, the last ones granted, will not begin."""
        taken = 0
        while True:
            try:
                data = os.read(self.child_end, 4096)
            except BlockingIOError:
                return taken
            taken += len(data)

    def close(self) -> None:
        """Close both ends."""
        os.close(self.child_end)
        os.close(self._write)
