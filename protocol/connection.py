"""One AMP connection that neither a bad box nor a bad answer can bring down by accident.

What stock AMP leaves open is closed here: bytes and keys of a box are capped while it arrives, a
peer that asks faster than it is answered is read more slowly, an error that nobody declared is
logged and answered, and a peer that says nothing is asked whether it lives. Only a peer that
breaks the protocol where nothing can be answered loses its connection, and the log says why.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Hashable, Iterator
from itertools import chain, count
from typing import Any

from twisted.internet.defer import Deferred, fail
from twisted.internet.error import ConnectionLost as TransportLost
from twisted.internet.interfaces import IReactorTime
from twisted.internet.protocol import connectionDone
from twisted.logger import Logger
from twisted.protocols import amp
from twisted.python.failure import Failure

from . import commands, forms, limits
from .boxes import BoxReader
from .departures import Departures, Outlet
from .errors import AmpacityError, Disconnected, TooLarge
from .faults import cannot_read, error_in, own_error, show, show_peer, unanswerable, understood
from .late import LATE
from .liveness import Liveness
from .outstanding import Outstanding, cost
from .turns import Turn

Lost = Callable[[Failure], None]
Boxes = Iterator[tuple[amp.AmpBox, int]]
"""Boxes with their sizes in bytes."""

_PING = commands.Ping.commandName
_ONLY_ASKS = {c.commandName for c in (commands.Query, commands.GetChunk, commands.Attach)}
"""What nobody hears the answer of changes nothing."""


class Connection(amp.AMP):
    """A peer. ``call`` asks it; ``locator`` answers what it asks.

    A connection begins with the small caps of the greeting; ``admit`` lifts them. The clock, where
    one is given, drives the pings.
    """

    log = Logger()
    transport: Any
    """An ``ITCPTransport`` or ``IUNIXTransport``, or the TLS in front of one; None when lost."""
    frame_jobs = limits.FRAME_JOBS
    """Jobs in one frame to the peer, as it has said in the greeting."""

    def __init__(
        self,
        locator: amp.CommandLocator | None = None,
        clock: IReactorTime | None = None,
        caps: limits.Caps | None = None,
    ) -> None:
        super().__init__(locator=locator or amp.CommandLocator())  # type: ignore[no-untyped-call]
        self.clock = clock
        self.caps = caps or limits.Caps()
        """What it takes; may be changed until it is admitted."""
        self.owner: Hashable = self
        """Whose turn it is when this is read: all connections of one owner share them."""
        self.peer = "a peer"
        self.admitted = False
        self.version = 1
        """Of the protocol, as agreed in the greeting."""
        self.lost: Failure | None = None
        self._on_lost: list[Lost] = []
        self._tags = count(1)
        self.closing = False
        self.liveness = Liveness(clock, self._ping, self.drop)
        self._greeted = 0  # bytes received before admission
        self._boxes = BoxReader(self.caps.greeting_bytes, self.caps.box_keys)
        self._asks = Outstanding(self.caps)
        self._turn = None if clock is None else Turn.of(clock)
        self._outlet = Outlet(Departures.of(clock))
        self._throttled = False
        self._rest: Boxes | None = None  # boxes for the next turn
        self._in_turn = False  # which waits for them
        self._unread = b""  # what came after those
        self._unheard = False  # the connection is gone, and what it brought is dealt with

    # -- for the sides that use it ----------------------------------------------------------------

    def admit(self, locator: amp.CommandLocator) -> None:
        """The greeting is done: wide caps from here on, these responders, and pings."""
        self.locator = locator
        self.admitted = True
        self._asks.caps = caps = self.caps
        self._boxes.most_bytes, self._boxes.most_keys = caps.box_bytes, caps.box_keys
        self.liveness.begin()

    def call(self, command: type[amp.Command], **arguments: Any) -> Deferred[dict[str, Any]]:
        """Ask the peer. Never raises; the Deferred fails with one of ``errors``.

        A lost connection is ``Disconnected``; an error that the command does not declare is
        ``AmpacityError`` with the peer's words.
        """
        if self.transport is None or self.closing:
            return fail(own_error(TransportLost()))
        tag = b"%x" % next(self._tags)
        answer: Deferred[amp.AmpBox] = Deferred()
        self._outstandingRequests[tag] = answer
        try:
            self._write(forms.question(command, tag, arguments))
        except Exception as e:  # noqa: BLE001 -- every failure goes through the Deferred
            del self._outstandingRequests[tag]
            return fail(own_error(e))
        return understood(answer, command)

    def on_lost(self, callback: Lost) -> None:
        """Call back with the reason when the connection is gone; at once where it is already."""
        if self.lost is not None:
            callback(self.lost)
        else:
            self._on_lost.append(callback)

    def close(self) -> None:
        """Send what is waiting, then close."""
        if self.transport is not None:
            self._outlet.leave()
            self.transport.unregisterProducer()  # a transport waits for its producer
            self.transport.loseConnection()

    def abort(self) -> None:
        """Close at once; what is waiting to be sent is dropped, what arrives is ignored."""
        self.closing = True
        self._outlet.close()
        if self.transport is not None:
            self.transport.abortConnection()

    def drop(self, why: str) -> None:
        """Abort, and say why in the log."""
        if not self.closing:
            # Twisted's logger knows no "warning"
            self.log.warn("closed {peer}: {why}", peer=self.peer, why=why)  # noqa: G010
        self.abort()

    # -- the transport ----------------------------------------------------------------------------

    def makeConnection(self, transport: Any) -> None:
        self.peer = show_peer(transport)
        with contextlib.suppress(AttributeError, OSError):
            transport.setTcpNoDelay(True)  # only TCP has it; TLS passes it on
            transport.setTcpKeepAlive(True)
        self.liveness.heard()
        self._outlet.open(transport)
        amp.BinaryBoxProtocol.makeConnection(self, transport)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._unheard = True
        self._read_the_rest(in_turn=False)  # the connection is gone, what it brought is not
        self.closing = True
        self.lost = reason
        self.liveness.end()
        self._outlet.close()
        self._boxes.forget()  # the collector may be long in coming for the rest of this
        self._rest, self._unread = None, b""
        amp.BinaryBoxProtocol.connectionLost(self, reason)
        self.transport = None
        callbacks, self._on_lost = self._on_lost, []
        for callback in callbacks:
            try:
                callback(reason)
            except Exception:  # noqa: BLE001 -- one that fails does not keep the others from it
                self.log.failure("the end of the connection of {peer}", peer=self.peer)

    def fileDescriptorReceived(self, descriptor: int) -> None:
        """No command carries one: it is closed, not kept."""
        os.close(descriptor)

    # -- boxes in ---------------------------------------------------------------------------------

    def dataReceived(self, data: bytes) -> None:
        if self.closing:
            return
        self.liveness.heard()
        if not self.admitted:
            self._greeted += len(data)
            if self._greeted > self.caps.greeting_bytes:
                most = self.caps.greeting_bytes
                self.drop(f"more than {most} bytes before the greeting was done")
                return
        if self._rest is not None:
            self._unread += data
        else:
            self._read(self._boxes.read(data))

    def _read(self, boxes: Boxes, in_turn: bool = True) -> None:
        """Deal with boxes; what the turn of the reactor has no room for waits for the next, and
        what comes too fast until it is due."""
        turn = self._turn if in_turn else None
        try:
            with self._outlet.departures:
                for box, size in boxes:
                    if turn is not None and (self._held_up or turn.is_over(self.owner)):
                        return self._read_later(chain([(box, size)], boxes))
                    if not self._take(box, size):
                        return None
        except TooLarge as e:
            self.drop(str(e))
        return None

    @property
    def _held_up(self) -> bool:
        """Whether nothing more is to be begun for this peer: it asks too much, or does not take
        what it has asked for."""
        return self._asks.slowed or (self._throttled and self.liveness.blocked is not None)

    def _read_later(self, boxes: Boxes) -> None:
        self._rest = boxes
        self._read_or_not()

    def _read_on(self) -> None:
        self._in_turn = False
        if not self._held_up:
            self._read_the_rest(in_turn=True)
        self._read_or_not()

    def _read_the_rest(self, in_turn: bool) -> None:
        boxes, self._rest = self._rest, None
        if boxes is not None and not self.closing:
            self._read(boxes, in_turn)
        if self._rest is None and self._unread and not self.closing:
            data, self._unread = self._unread, b""
            self._read(self._boxes.read(data), in_turn)

    def _take(self, box: amp.AmpBox, size: int) -> bool:
        """Deal with a box; whether to go on with the next."""
        try:
            self._received(box, size)
        except Exception:  # noqa: BLE001 -- a mistake in here must not stop the reactor's read loop
            self.log.failure("a box of {peer} could not be dealt with", peer=self.peer)
            self.drop("a box that could not be dealt with")
        return not self.closing

    def ampBoxReceived(self, box: amp.AmpBox) -> None:
        self._received(box, 0)

    def _received(self, box: amp.AmpBox, size: int) -> None:
        if amp.COMMAND in box:
            self._asked(box, size)
        elif amp.ANSWER in box:
            self._answered(box[amp.ANSWER], box)
        elif amp.ERROR in box:
            self._answered(box[amp.ERROR], error_in(box))
        else:
            self.drop("a box that neither asks nor answers")

    def _answered(self, tag: bytes, answer: amp.AmpBox | Failure) -> None:
        question = self._outstandingRequests.pop(tag, None)
        if question is None:
            self.drop(f"an answer to a question that was not asked, {tag!r:.40}")
        else:
            question.callback(answer)

    # -- answering --------------------------------------------------------------------------------

    def _asked(self, box: amp.AmpBox, size: int) -> None:
        name, tag = box[amp.COMMAND], box.get(amp.ASK)
        if name == _PING and self.admitted:
            return self._send_answer(b"", tag, name)
        if self._unheard and name in _ONLY_ASKS:
            return None  # a thousand questions lie in a buffer: they would all be dealt with now
        responder = self.locator.locateResponder(name)
        if responder is None:
            return self._refuse(tag, *unanswerable(name, self.admitted))
        try:
            answer: bytes | Deferred[bytes | amp.AmpBox] = responder(box)
        except TooLarge as e:
            return self._refuse(tag, b"TOO_LARGE", f"the arguments of {show(name)}: {e}")
        except Exception as e:  # noqa: BLE001 -- the parsers of arguments raise what they like
            text = cannot_read(f"the arguments of {show(name)}", e)
            return self._refuse(tag, b"MALFORMED", text)
        if isinstance(answer, bytes):
            return self._give(answer, tag, name)
        # one that is here is about to be written: what is not taken blocks the peer
        size = 0 if answer.called and not answer.paused else cost(name, size)
        if self._asks.begin(size):
            self._read_or_not()
        answer.addBoth(self._answer, name, tag, size)
        return None

    def _answer(
        self, answer: amp.AmpBox | bytes | Failure, name: bytes, tag: bytes | None, size: int
    ) -> None:
        self._give(answer, tag, name)
        if self._asks.end(size):
            self._read_or_not()

    def _give(self, answer: amp.AmpBox | bytes | Failure, tag: bytes | None, name: bytes) -> None:
        try:
            if isinstance(answer, Failure):
                self._send_error(answer, tag, name)
            else:
                self._send_answer(answer, tag, name)
        except Exception:  # noqa: BLE001 -- one question is not answered, the others are
            self._log_mistake(Failure(), name)

    def _refuse(self, tag: bytes | None, code: bytes, text: str) -> None:
        """Answer an error; where no answer was asked for, nothing but the end is left."""
        if tag is None:
            return self.drop(text)
        return self._emit(forms.error(tag, code, text))

    def _send_answer(self, answer: amp.AmpBox | bytes, tag: bytes | None, name: bytes) -> None:
        """An answer is a box, or the bytes of its keys and values."""
        if tag is None:
            return
        try:
            if isinstance(answer, bytes):
                self._emit(forms.answer(tag, answer), LATE.get(name, 0.0))
            else:
                answer[amp.ANSWER] = tag
                self._emit(answer.serialize())
        except TooLarge as e:
            self._refuse(tag, b"TOO_LARGE", str(e))

    def _send_error(self, failure: Failure, tag: bytes | None, name: bytes) -> None:
        error = failure.value
        if isinstance(error, amp.RemoteAmpError):  # declared by the command
            code, text = error.errorCode, str(error.description)
        else:
            if isinstance(error, Disconnected):  # this side is about to go: no answer is one, too
                self.close()
                return
            self._log_mistake(failure, name)
            known = isinstance(error, AmpacityError)
            text = str(error) if known else f"{show(name)} failed; the other side's log says more"
            code = amp.UNKNOWN_ERROR_CODE
        if tag is not None:
            self._refuse(tag, code, text)

    def _log_mistake(self, failure: Failure, name: bytes) -> None:
        self.log.failure("{name} of {peer} failed", failure, name=show(name), peer=self.peer)

    def _emit(self, box: bytes, late: float = 0.0) -> None:
        """Send an answer; nobody is left to hear that the connection went meanwhile."""
        with contextlib.suppress(TransportLost):
            self._write(box, late)

    def sendBox(self, box: amp.AmpBox) -> None:
        """Write a box of AMP's own."""
        self._write(box.serialize())

    def _write(self, data: bytes, late: float = 0.0) -> None:
        """Write one box; raises TooLarge. It may be ``late`` by so many seconds."""
        if self.transport is None or self.closing:
            raise TransportLost
        self._outlet.write(data, late)

    def unhandledError(self, failure: Failure) -> None:
        """Log it; the jobs of others on this connection go on."""
        self.log.failure("an error on the connection of {peer}", failure, peer=self.peer)

    # -- a peer that is too fast, too slow, or gone -----------------------------------------------

    def throttle(self) -> None:
        """Read nothing more from a peer that does not take what is sent to it.

        For one side of a connection only: with both, each could wait for the other.
        """
        assert self.transport is not None
        self._throttled = True
        self.transport.registerProducer(self, True)

    def pauseProducing(self) -> None:
        self.liveness.takes(False)
        self._read_or_not()

    def resumeProducing(self) -> None:
        self.liveness.takes(True)
        self._read_or_not()

    def stopProducing(self) -> None:
        """The transport is closing: there is nothing to stop."""

    def _read_or_not(self) -> None:
        if self.transport is None or self.closing:
            return
        self.liveness.deaf = self._asks.slowed
        due = self._rest is not None and not (self._in_turn or self._held_up)
        if due and self._turn is not None:
            self._in_turn = True
            self._turn.next(self._read_on, self.owner)
        if self._asks.slowed or self.liveness.blocked is not None or self._rest is not None:
            self.transport.pauseProducing()
        else:
            self.liveness.heard()  # it could not be heard meanwhile
            self.transport.resumeProducing()

    def _ping(self) -> None:
        # a loss is reported to whoever waits on the connection, not to the ping
        self.call(commands.Ping).addErrback(lambda _: None)
