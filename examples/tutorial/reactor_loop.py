"""Chapter 4. The reactor: the loop that Twisted has, in the place of our own."""

from __future__ import annotations

import sys
from collections import deque
from typing import Any

from ampacity import LoopWatch
from ampacity.loopwatch import Held
from mailroom import GOOD_NIGHT, WallClock, hang, render, take_mail
from twisted.internet import reactor


class Mailroom:
    """The functions of chapter 2; what calls them is the reactor."""

    def __init__(self, reactor: Any) -> None:
        self.reactor = reactor
        self.clock = WallClock()
        self.waiting: deque[str] = deque()

    def look(self) -> None:
        if messages := take_mail():
            self.mail_came(messages)
        self.reactor.callLater(0.05, self.look)

    def tick(self) -> None:
        self.clock.tick()
        self.reactor.callLater(self.clock.EVERY, self.tick)

    def mail_came(self, messages: list[str]) -> None:
        self.clock.mail_came()
        if not self.waiting:
            self.reactor.callLater(0, self.work)
        self.waiting.extend(messages)

    def work(self) -> None:
        message = self.waiting.popleft()
        if message == GOOD_NIGHT:
            self.clock.close()
            self.reactor.stop()
            return
        hang(message, render(message))
        if self.waiting:
            self.reactor.callLater(0, self.work)


def blame(held: Held) -> None:
    """Called in a thread of the watch, while the loop still hangs."""
    print(f"who holds the loop? {held.place.rpartition('/')[2]}\n", end="")  # at once, here too


def main(watch: bool) -> None:
    mailroom = Mailroom(reactor)
    if watch:
        LoopWatch(reactor, bound=0.1, report=blame).start()
    mailroom.look()
    mailroom.tick()
    reactor.run()


if __name__ == "__main__":
    main(watch=sys.argv[1:] == ["watch"])
