"""Where operators have tokens made, listed and taken back."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal

from twisted.logger import Logger

from ..protocol.commands import CreateToken, ListTokens, RevokeToken
from ..protocol.connection import Connection
from ..protocol.errors import Malformed, NotListening, StorageFull, TooLarge
from ..protocol.ids import ClientId
from ..protocol.limits import NAME_LENGTH
from ..protocol.responders import Responders
from ..protocol.tokens import ROLES, Role, Token
from .credentials import Credential, Credentials
from .guests import Guests

LONGEST = 100 * 365 * 86400.0
"""Seconds that a token may be good for, where it shall expire at all."""


class TokenDesk(Responders):
    """The desk as one operator sees it. ``line_of`` makes of a token the line to be pasted."""

    log = Logger()

    def __init__(
        self,
        credentials: Credentials,
        guests: Guests,
        line_of: Callable[[Token], str],
        connection: Connection,
        asker: ClientId,
    ) -> None:
        self._credentials = credentials
        self._guests = guests
        self._line_of = line_of
        self._connection = connection
        self._asker = asker

    @CreateToken.responder
    async def create(self, role: str, lifetime: float | None, name: str | None) -> dict[str, Any]:
        known = _role(role)
        _check(lifetime, name)
        self._check_listening()
        try:
            token = await self._credentials.issue(known, use_of(known), lifetime, name)
        except OSError as e:
            raise StorageFull(f"the token could not be kept, so there is none: {e}") from None
        self.log.info(
            "{asker} created the token {token} for the role {role}",
            asker=self._asker,
            token=token.id,
            role=role,
        )
        return {"line": self._line_of(token), "token": token.id}

    @ListTokens.responder
    def list(self) -> dict[str, Any]:
        self._check_listening()
        return {"tokens": [self._record(one) for one in self._credentials.list()]}

    @RevokeToken.responder
    async def revoke(self, token: str, joined: bool) -> dict[str, Any]:
        self._check_listening()
        self._guests.spare(self._connection)
        try:
            revoked = await self._credentials.revoke(token, joined)
        except OSError as e:
            raise StorageFull(
                "it is good no more, and would be again after the coordinator's next start, since "
                f"that could not be written: {e}"
            ) from None
        finally:
            self._guests.spare_no_more(self._connection)
        self.log.info("{asker} revoked {token}", asker=self._asker, token=", ".join(revoked))
        return {"revoked": [*revoked]}

    def _record(self, one: Credential) -> dict[str, Any]:
        return {
            "id": one.id,
            "role": one.role,
            "use": one.use,
            "name": one.name,
            "created": one.created,
            "expires": one.expires,
            "origin": one.origin,
            "connections": self._guests.count(one.id),
            "last": self._guests.last(one.id),
        }

    def _check_listening(self) -> None:
        if not self._credentials.started:
            raise NotListening(
                "this coordinator listens on no port, so there is nothing that a token opens: "
                "start it with --listen tcp:8786"
            )


def use_of(role: Role) -> Literal["join", "own"]:
    """A worker exchanges its join token; a client shows the same one again and again."""
    return "join" if role == "worker" else "own"


def _role(text: str) -> Role:
    for role in ROLES:
        if role == text:
            return role
    raise Malformed(f"there is no role {text!r:.30}; there are {', '.join(ROLES)}")


def _check(lifetime: float | None, name: str | None) -> None:
    if lifetime is not None and not (math.isfinite(lifetime) and 0 < lifetime <= LONGEST):
        raise Malformed("a token's lifetime is a number of seconds, of a hundred years at most")
    if name is not None and len(name) > NAME_LENGTH:
        raise TooLarge(f"a token's name has at most {NAME_LENGTH} characters")
