"""Chapter 13. Which reactor: the program of chapter 7 under any of them."""

from __future__ import annotations

import asyncio
import sys
from importlib import import_module


def install(name: str) -> None:
    """Choose the reactor. This comes first: whoever imports one uses it for good."""
    if name == "uvloop":
        import uvloop
        from twisted.internet import asyncioreactor

        asyncio.set_event_loop(uvloop.new_event_loop())
        asyncioreactor.install(asyncio.get_event_loop())
    elif name != "default":
        import_module(f"twisted.internet.{name}reactor").install()


def main() -> None:
    install(*sys.argv[1:])
    from off_the_loop import main as mailroom
    from twisted.internet import reactor
    from twisted.internet.defer import Deferred
    from twisted.internet.task import react

    print("the reactor:", type(reactor).__name__)
    react(lambda reactor: Deferred.fromCoroutine(mailroom(reactor)))


if __name__ == "__main__":
    main()
