"""One command in Twisted's reactor: a coroutine that answers with an exit code."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import attrs
import click

from .failures import Exit

Main = Callable[[Any], Coroutine[Any, Any, int]]
"""Gets the reactor, answers the exit code."""

_OF_SIGNAL = {signal.SIGINT: Exit.INTERRUPTED, signal.SIGTERM: 143, signal.SIGHUP: 129}


@attrs.define
class _Run:
    """One run of a coroutine; a signal ends it through its own ``finally`` clauses."""

    reactor: Any
    main: Main
    service: bool
    hurry: Sequence[Callable[[], object]] = ()
    answer: int = 0
    error: BaseException | None = None
    signalled: int | None = None
    signals: int = 0
    work: Any = None
    over: bool = False

    def start(self) -> None:
        from twisted.internet.defer import Deferred

        for number in _OF_SIGNAL:
            signal.signal(number, self._signal)
        self.work = Deferred.fromCoroutine(self.main(self.reactor))
        self.work.addCallbacks(self._done, self._failed)
        self.work.addBoth(self._stop)

    def _signal(self, number: int, frame: object) -> None:
        self.reactor.callFromThread(self.end, number)

    def end(self, number: int) -> None:
        """Cancel the coroutine; a second time, hurry it; then leave without waiting for it."""
        self.signals += 1
        if self.signals == 1:
            self.signalled = number
            if self.work is not None and not self.over:
                self.work.cancel()
        elif self.signals == 2 and self.hurry:
            for hurry in self.hurry:
                hurry()
        else:
            self._stop(None)

    def _done(self, answer: int) -> None:
        self.answer = answer

    def _failed(self, failure: Any) -> None:
        self.error = failure.value

    def _stop(self, _: object) -> None:
        if not self.over:
            self.over = True
            self.reactor.stop()

    def ended(self) -> int:
        """The exit code, or the coroutine's error."""
        from twisted.internet.defer import CancelledError

        if self.signalled is None or not isinstance(self.error, CancelledError | None):
            if self.error is not None:
                raise self.error
            return self.answer
        return Exit.DONE if self.service else _OF_SIGNAL[signal.Signals(self.signalled)]


def react(
    main: Main,
    log_level: str,
    log_format: str,
    service: bool = False,
    hurry: Sequence[Callable[[], object]] = (),
) -> int:
    """Run ``main`` in the installed reactor and return its exit code; its error is raised.

    SIGINT, SIGTERM and SIGHUP cancel it, unless it sets a handler of its own; a ``service`` that
    is ended by them has done its work. A second one calls what is in ``hurry`` by then, which
    shortens what the end takes; without that, and with a third one, nothing is waited for.
    """
    from twisted.internet import reactor

    from ..protocol.collecting import collect_seldom
    from ..protocol.steady import make_steady
    from ..protocol.switching import switch_often
    from .logs import begin_logging

    make_steady(reactor)
    collect_seldom()
    switch_often()

    begin_logging(log_level, log_format)
    run = _Run(reactor, main, service, hurry)
    reactor.callLater(0, run.start)  # after the reactor's own signal handlers
    reactor.run()
    sys.stdout.flush()
    return run.ended()


def install_reactor(name: str | None) -> None:
    """Choose Twisted's reactor, before anything imports it.

    Raises:
        click.UsageError: there is no such reactor here.
    """
    if name is None:
        return
    from twisted.application.reactors import NoSuchReactor, getReactorTypes, installReactor

    try:
        installReactor(name)
    except NoSuchReactor:
        names = ", ".join(sorted(kind.shortName for kind in getReactorTypes()))
        raise click.UsageError(f"there is no reactor {name!r:.40}; there are: {names}") from None
    except Exception as e:  # noqa: BLE001  # whatever its toolkit raises where it is missing
        raise click.UsageError(f"the reactor {name} cannot be used here: {e}") from None
