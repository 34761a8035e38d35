"""Who may ask what: one table for commands, one for the questions of ``Query``. The rest is denied.

A row says which roles may ask; whose jobs that concerns is said by the scope of a session: a
client's own, or everyone's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

from twisted.internet.defer import Deferred, fail
from twisted.protocols import amp

from ..protocol.errors import NotAllowed
from ..protocol.ids import ClientId
from ..protocol.tokens import Role

Roles = frozenset[Role]
Responder = Callable[[amp.AmpBox], Deferred[amp.AmpBox]]

EVERYONE: Final = "*"
"""Stands for all clients, where a list is asked for."""

NOBODY: Final[Roles] = frozenset()
_WORKER: Final[Roles] = frozenset({"worker"})
_OPERATOR: Final[Roles] = frozenset({"operator"})
_CLIENT: Final[Roles] = frozenset({"client", "operator"})
_VIEWER: Final[Roles] = frozenset({"client", "operator", "viewer"})
_BOTH_SIDES: Final[Roles] = frozenset({"worker", "client", "operator"})
_SEE_ALL: Final[Roles] = frozenset({"operator", "viewer"})
_ALL: Final[Roles] = frozenset({"worker", "client", "operator", "viewer"})

COMMANDS: Final[Mapping[bytes, Roles]] = {
    b"Ping": _ALL,
    b"Goodbye": _ALL,
    # said before there is a role
    b"Hello": NOBODY,
    b"Authenticate": NOBODY,
    # from clients
    b"OpenSession": _VIEWER,
    b"Submit": _CLIENT,
    b"CloseGroup": _CLIENT,
    b"Cancel": _CLIENT,
    b"Retry": _CLIENT,
    b"Forget": _CLIENT,
    b"Watch": _CLIENT,
    b"Query": _VIEWER,
    b"Attach": _CLIENT,
    b"Detach": _CLIENT,
    # about the coordinator itself
    b"ReloadWorkers": _OPERATOR,
    b"DrainWorker": _OPERATOR,
    b"Backup": _OPERATOR,
    b"Shutdown": _OPERATOR,
    b"CreateToken": _OPERATOR,
    b"ListTokens": _OPERATOR,
    b"RevokeToken": _OPERATOR,
    # from workers
    b"Join": _WORKER,
    b"Begun": _WORKER,
    b"Finished": _WORKER,
    b"Returned": _WORKER,
    b"Output": _WORKER,
    b"WorkerState": _WORKER,
    # values
    b"PutChunk": _BOTH_SIDES,
    b"GetChunk": _BOTH_SIDES,
    b"PutFile": _BOTH_SIDES,
    b"GetFile": _BOTH_SIDES,
    # what only a coordinator says
    b"Delivered": NOBODY,
    b"Assign": NOBODY,
    b"EndAttempts": NOBODY,
    b"Retract": NOBODY,
    b"AttachWorker": NOBODY,
    b"Reload": NOBODY,
    b"Drain": NOBODY,
}

QUESTIONS: Final[Mapping[str, Roles]] = {
    "status": _VIEWER,
    "workers": _VIEWER,
    "jobs": _VIEWER,
    "job": _VIEWER,
    "result": _CLIENT,
    "group": _VIEWER,
    "groups": _VIEWER,
    "select": _VIEWER,
}


def check_command(role: Role, command: bytes) -> None:
    """See that a role may give a command.

    Raises:
        NotAllowed: saying who may.
    """
    _check(role, COMMANDS.get(command, NOBODY), command.decode("ascii", "backslashreplace"))


def check_question(role: Role, question: str) -> None:
    """See that a role may ask a question; one that does not exist is nobody's.

    Raises:
        NotAllowed: saying who may.
    """
    _check(role, QUESTIONS.get(question, NOBODY), f"the question {question!r:.40}")


def _check(role: Role, allowed: Roles, what: str) -> None:
    if role not in allowed:
        article = "an" if role == "operator" else "a"
        raise NotAllowed(f"{article} {role} may not ask {what}; {_who(allowed)}")


def _who(allowed: Roles) -> str:
    if not allowed:
        return "nobody may"
    return f"that takes a token of the role {' or '.join(sorted(allowed))}"


class Asker(NamedTuple):
    """Who asks, and whose jobs that may concern."""

    client: ClientId
    role: Role

    @property
    def by_id(self) -> ClientId | None:
        """Whose jobs can be named by their ids: his own; None: everyone's."""
        return None if self.role in _SEE_ALL else self.client

    def may_see(self, client: ClientId) -> bool:
        """Whether a client's jobs can be named by who asks."""
        return self.by_id in (None, client)

    def listed(self, wanted: str | None) -> ClientId | None:
        """Whose jobs are listed; ``wanted`` names a client, or everyone with ``*``.

        Without it, these are one's own; a viewer has none, and is shown everyone's.

        Raises:
            NotAllowed: a client asks for others' jobs.
        """
        if wanted is None:
            return None if self.role == "viewer" else self.client
        if self.role not in _SEE_ALL and wanted != self.client:
            raise NotAllowed(f"a {self.role} sees its own jobs only; {_who(_SEE_ALL)}")
        return None if wanted == EVERYONE else ClientId(wanted)


class Permitted(amp.CommandLocator):
    """The responders of one who was let in, those that the table gives to the role.

    The first of several ``locators`` that knows a command answers it.
    """

    def __init__(self, role: Role, *locators: amp.CommandLocator) -> None:
        self.role: Final = role
        self._locators = locators

    def locateResponder(self, name: bytes) -> Responder | None:
        """What answers a command: a refusal, where the role may not give it."""
        responder = self._find(name)
        if responder is None and name not in COMMANDS:
            return None
        try:
            check_command(self.role, name)
        except NotAllowed as refusal:
            text = str(refusal)
            return lambda _box: fail(amp.RemoteAmpError(b"NOT_ALLOWED", text))
        return responder

    def _find(self, name: bytes) -> Responder | None:
        for locator in self._locators:
            responder: Responder | None = locator.locateResponder(name)
            if responder is not None:
                return responder
        return None
