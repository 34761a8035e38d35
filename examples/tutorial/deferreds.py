"""Chapter 5. Deferreds: a placeholder for what is not there yet."""

from __future__ import annotations

from typing import Any

from mailroom import GOOD_NIGHT, hang, render, take_mail
from twisted.internet.defer import Deferred
from twisted.internet.task import react
from twisted.python.failure import Failure


def next_mail(reactor: Any) -> Deferred[list[str]]:
    """Fires with the messages, when there are some."""
    mail: Deferred[list[str]] = Deferred()

    def look() -> None:
        if messages := take_mail():
            mail.callback(messages)
        else:
            reactor.callLater(0.05, look)

    reactor.callLater(0, look)
    return mail


def sort_out(messages: list[str]) -> list[str]:
    """What is to be drawn; without anything, nobody needs to open the mailroom."""
    names = [message for message in messages if message != GOOD_NIGHT]
    if not names:
        raise ValueError("this mail holds no message")
    return names


def draw(names: list[str]) -> int:
    for name in names:
        hang(name, render(name))
    return len(names)


def main(reactor: Any) -> Deferred[None]:
    began = reactor.seconds()

    def told(count: int) -> None:
        print(f"{count} pictures hang, after {reactor.seconds() - began:.2f} s")

    def failed(failure: Failure) -> None:
        print(f"no pictures: {failure.getErrorMessage()}")

    mail = next_mail(reactor)
    names = mail.addCallback(sort_out)
    count = names.addCallback(draw)
    done = count.addCallbacks(told, failed)
    print("nothing has happened yet, and main() is done")
    return done


if __name__ == "__main__":
    react(main)
