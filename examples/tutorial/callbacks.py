"""Chapter 2. When y occurs, call z: a loop of our own, and functions that it calls."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import Any

from mailroom import GOOD_NIGHT, WallClock, hang, render, take_mail


class Loop:
    """Looks whether something has happened, and calls whoever wants to know."""

    def __init__(self) -> None:
        self._wanted: list[tuple[Callable[[], Any], Callable[[Any], None]]] = []
        self._later: list[tuple[float, Callable[[], None]]] = []
        self._running = False

    def when(self, look: Callable[[], Any], call: Callable[[Any], None]) -> None:
        """When ``look`` finds something, call ``call`` with it."""
        self._wanted.append((look, call))

    def later(self, seconds: float, call: Callable[[], None]) -> None:
        """Call ``call`` once, after so many seconds."""
        self._later.append((time.monotonic() + seconds, call))

    def run(self) -> None:
        """Go round until ``stop``."""
        self._running = True
        while self._running:
            for look, call in self._wanted:
                if found := look():
                    call(found)
            now = time.monotonic()
            due = [call for moment, call in self._later if moment <= now]
            self._later = [(moment, call) for moment, call in self._later if moment > now]
            for call_now in due:
                call_now()
            time.sleep(0.001)

    def stop(self) -> None:
        self._running = False


class Mailroom:
    """The program: three functions that are called when their time has come."""

    def __init__(self, loop: Loop) -> None:
        self.loop = loop
        self.clock = WallClock()
        self.waiting: deque[str] = deque()

    def tick(self) -> None:
        self.clock.tick()
        self.loop.later(self.clock.EVERY, self.tick)

    def mail_came(self, messages: list[str]) -> None:
        self.clock.mail_came()
        if not self.waiting:
            self.loop.later(0, self.work)
        self.waiting.extend(messages)

    def work(self) -> None:
        message = self.waiting.popleft()
        if message == GOOD_NIGHT:
            self.clock.close()
            self.loop.stop()
            return
        hang(message, render(message))
        if self.waiting:
            self.loop.later(0, self.work)  # one picture; then it is the others' turn


def main() -> None:
    loop = Loop()
    mailroom = Mailroom(loop)
    loop.when(take_mail, mailroom.mail_came)
    loop.later(0, mailroom.tick)
    loop.run()


if __name__ == "__main__":
    main()
