"""Chapter 1. A plain program: look, read, render, one thing after the other."""

from __future__ import annotations

import time

from mailroom import GOOD_NIGHT, WallClock, hang, render, take_mail


def main() -> None:
    clock = WallClock()
    while True:
        clock.tick()
        for message in take_mail():
            clock.mail_came()
            if message == GOOD_NIGHT:
                return clock.close()
            hang(message, render(message))
        time.sleep(clock.EVERY)


if __name__ == "__main__":
    main()
