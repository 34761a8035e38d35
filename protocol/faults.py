"""What goes wrong on a connection, as our own errors and in words."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionClosed
from twisted.protocols import amp
from twisted.python.failure import Failure

from . import commands
from .errors import AmpacityError, Disconnected, Malformed, NotAllowed, TooLarge
from .forms import forms_of

_KNOWN = frozenset(
    command.commandName
    for command in vars(commands).values()
    if isinstance(command, type) and issubclass(command, amp.Command)
)


def error_in(box: amp.AmpBox) -> Failure:
    """The error that a box of the peer answers."""
    code = box.get(amp.ERROR_CODE, amp.UNKNOWN_ERROR_CODE)
    text = box.get(amp.ERROR_DESCRIPTION, b"").decode("utf-8", "replace")
    return Failure(amp.RemoteAmpError(code, text))


def remote_error(failure: Failure, command: type[amp.Command]) -> Failure:
    """What the peer answered, as one of our own errors."""
    error: Any = failure.value
    if not isinstance(error, amp.RemoteAmpError):
        return Failure(own_error(error))
    kind = command.reverseErrors.get(error.errorCode, AmpacityError)  # type: ignore[attr-defined]
    return Failure(kind(str(error.description)))


def own_error(error: BaseException) -> BaseException:
    """A failure of this side of the wire, as one of our own errors where there is one."""
    if isinstance(error, ConnectionClosed | amp.ProtocolSwitched):
        return Disconnected(f"the connection is gone: {str(error) or 'closed'}")
    if isinstance(error, amp.TooLong):
        return TooLarge(f"a value for {error.keyName!r} is too long for one box")
    return error


def cannot_read(what: str, error: Exception) -> str:
    """Why something of the peer is refused, in a sentence."""
    if isinstance(error, Malformed | TooLarge | NotAllowed):
        return f"{what} cannot be read: {error}"
    missing = isinstance(error, KeyError)
    return f"{what} cannot be read: {'a part is missing: ' if missing else ''}{error!s:.200}"


def unanswerable(name: bytes, admitted: bool) -> tuple[bytes, str]:
    """Why nothing here answers a command: a code, and a sentence."""
    if name not in _KNOWN:
        return amp.UNHANDLED_ERROR_CODE, f"there is no command {show(name)}"
    when = "this side may not be asked" if admitted else "the greeting comes before"
    return b"NOT_ALLOWED", f"{when} {show(name)}"


def show(name: bytes) -> str:
    """A command's name, for people."""
    return name.decode("ascii", "backslashreplace")[:60]


def show_peer(transport: Any) -> str:
    """Where a peer is, for the log."""
    peer = transport.getPeer()
    host = getattr(peer, "host", None)
    return "a local process" if host is None else f"{host}:{getattr(peer, 'port', '?')}"


def understood(
    answer: Deferred[amp.AmpBox], command: type[amp.Command]
) -> Deferred[dict[str, Any]]:
    """What the peer answers to a command, or one of our own errors."""
    return answer.addCallbacks(
        parse_answer, remote_error, callbackArgs=(command,), errbackArgs=(command,)
    )


def parse_answer(box: amp.AmpBox, command: type[amp.Command]) -> dict[str, Any]:
    """What a box answers to a command.

    Raises:
        Malformed: whatever the parsers raise.
    """
    if not command.response:
        return {}
    try:
        answer = forms_of(command).answer.read(box)
    except Exception as e:  # noqa: BLE001 -- for that reason
        raise Malformed(cannot_read(f"the answer to {command.__name__}", e)) from None
    return answer
