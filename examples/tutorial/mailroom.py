"""What every chapter uses: the mail, the picture (the heavy part), and the clock on the wall."""

from __future__ import annotations

import cmath
import hashlib
import struct
import time
import zlib
from pathlib import Path

GOOD_NIGHT = "good night"
"""The message after which the mailroom closes."""


def take_mail() -> list[str]:
    """The messages that lie in the file ``mail``, one a line; the file is gone then."""
    taken = Path("mail.taken")
    try:
        Path("mail").rename(taken)
    except FileNotFoundError:
        return []
    messages = taken.read_text().splitlines()
    taken.unlink()
    return messages


def render(message: str, width: int = 120, height: int = 90) -> bytes:
    """A picture for a message, as PNG: some place on the edge of the Mandelbrot set.

    This is the heavy part. It only computes: nothing in it waits for anything.
    """
    digest = hashlib.sha256(message.encode()).digest()
    turn = cmath.exp(2j * cmath.pi * digest[0] / 256)
    middle = turn / 2 - turn * turn / 4  # on the edge of the heart-shaped part
    size = 0.05 + digest[1] / 800
    rows = bytearray()
    for y in range(height):
        rows.append(0)  # each row of a PNG begins with its filter: none
        for x in range(width):
            rows.append(_shade(middle + complex(x / width - 0.5, y / width - 0.375) * size))
    return _png(width, height, bytes(rows))


def _shade(c: complex, most: int = 160) -> int:
    z = 0j
    for steps in range(most):
        z = z * z + c
        if abs(z) > 2:
            return 255 - steps * 255 // most
    return 0


def _png(width: int, height: int, rows: bytes) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        checksum = zlib.crc32(kind + data)
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", checksum)

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    parts = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + parts


def hang(message: str, picture: bytes) -> None:
    """Put a picture on the wall: into a file with the message's name."""
    Path(f"{message}.png").write_bytes(picture)
    print(f"{message}: a picture of {len(picture)} bytes\n", end="")  # at once: see chapter 3


class WallClock:
    """A clock that somebody has to push: it shows how long nobody found the time to."""

    EVERY = 0.05
    """Seconds from one push to the next, when all is well."""

    def __init__(self) -> None:
        self._pushed = time.monotonic()
        self._longest = 0.0
        self._opened: float | None = None

    def tick(self) -> None:
        """Push the clock."""
        now = time.monotonic()
        self._longest = max(self._longest, now - self._pushed - self.EVERY)
        self._pushed = now

    def mail_came(self) -> None:
        """Note when the day's work began."""
        self._opened = self._opened or time.monotonic()

    def close(self) -> None:
        """Tell how the day was."""
        self.tick()
        assert self._opened is not None, "there was no mail"
        print(f"all done in {time.monotonic() - self._opened:.2f} s")
        print(f"the clock on the wall stood still for up to {self._longest:.2f} s")
