"""The first words of a connection: which protocol, which role, and the proof of the token.

Nothing else is understood before, within ``GREETING_BYTES`` and ``GREETING_SECONDS``. Afterwards
the connection's responders are those of a session, and these here are gone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.protocols import amp

from ..protocol.commands import PROTOCOL_VERSIONS, Authenticate, Hello
from ..protocol.connection import Connection
from ..protocol.dialing import software
from ..protocol.errors import Malformed, NotAllowed, TokenRefused, VersionMismatch
from ..protocol.frames import jobs_in_a_frame
from ..protocol.ids import LOCAL_CLIENT, ClientId
from ..protocol.limits import GREETING_SECONDS, LARGE_FRAME_JOBS
from ..protocol.ports import CoordinatorCore
from ..protocol.steady import PAUSE, monotonic_of
from ..protocol.tokens import ROLES, Role
from .credentials import Credentials

Admit = Callable[[Connection, Role, ClientId], amp.CommandLocator]
"""Makes the session of someone who has been let in."""


class Visit(Protocol):
    """What the doorway is told of a greeting."""

    def pass_in(self) -> None:
        """It is known who that is: no stranger any more."""

    def fail(self) -> None:
        """Something wrong was shown, or nothing in time."""


class Greeting(amp.CommandLocator):
    """The greeting of one connection; without ``credentials`` it is open to whoever reaches it."""

    log = Logger()

    def __init__(
        self,
        connection: Connection,
        clock: IReactorTime,
        core: CoordinatorCore,
        admit: Admit,
        credentials: Credentials | None,
        visit: Visit | None = None,
        seconds: float = GREETING_SECONDS,
    ) -> None:
        self._connection = connection
        self._clock = clock
        self._core = core
        self._admit = admit
        self._credentials = credentials
        self._visit = visit
        self._now = monotonic_of(clock)
        self._role: Role | None = None
        self._shown = False
        self._seconds = seconds
        self._wait()
        connection.locator = self
        connection.on_lost(lambda _: self._over())

    @Hello.responder
    def hello(
        self, versions: list[int], role: str, software: str, frame_jobs: int | None
    ) -> dict[str, Any]:
        if self._role is not None:
            raise NotAllowed("the greeting has been said")
        version = self._connection.version = _common_version(versions, software)
        self._role = _role(role)
        self._connection.frame_jobs = jobs_in_a_frame(frame_jobs)
        answer = self._about(version)
        if self._credentials is None:
            # whoever reaches the socket could read and write all that the coordinator has
            self._let_in("operator" if role == "client" else self._role, LOCAL_CLIENT)
        return answer

    @Authenticate.responder
    async def authenticate(self, token: str, secret: bytes) -> dict[str, Any]:
        if self._role is None or self._credentials is None or self._shown:
            raise NotAllowed("the token comes after the greeting, once, where one is asked for")
        self._shown = True
        try:
            return await self._prove(self._credentials, self._role, token, secret)
        except BaseException:
            self._refuse(token)
            raise

    async def _prove(
        self, credentials: Credentials, role: Role, token: str, secret: bytes
    ) -> dict[str, Any]:
        found = credentials.verify(token, secret)
        if found.role != role:
            raise TokenRefused
        self._is_known()
        client, whole = found.id, None
        if found.use == "join":
            own = await credentials.exchange(found)
            client, whole = own.id, own.reveal()
        if self._connection.closing:
            if whole is not None:
                credentials.withdraw(client)
            raise TokenRefused("this took too long")
        self._let_in(role, ClientId(client))
        return {"client": client, "credential": whole}

    def _about(self, version: int) -> dict[str, Any]:
        return {
            "version": version,
            "software": software(),
            "store": self._core.store_id,
            "term": self._core.term,
            "open": self._credentials is None,
            "frame_jobs": LARGE_FRAME_JOBS,
        }

    def _let_in(self, role: Role, client: ClientId) -> None:
        locator = self._admit(self._connection, role, client)
        self._is_known()
        self._connection.admit(locator)

    def _is_known(self) -> None:
        """The place at the door is free for another; what takes time now is our own."""
        self._over()
        if self._visit is not None:
            self._visit.pass_in()

    def _refuse(self, token: str) -> None:
        """One try a connection: it is closed once the answer is out."""
        if self._visit is not None:
            self._visit.fail()
        self.log.warn(  # noqa: G010 -- Twisted's logger knows no "warning"
            "refused the token {token!r} of {peer}", token=token[:24], peer=self._connection.peer
        )
        self._clock.callLater(0, self._connection.close)
        if not self._limit.active() and self._connection.lost is None:
            self._wait()  # for a peer that does not let go

    def _too_late(self) -> None:
        if self._now() > self._due + PAUSE:  # this process was stopped, and heard nothing
            return self._wait()
        if self._visit is not None:
            self._visit.fail()
        self._connection.drop(f"no greeting within {self._seconds:g} s")
        return None

    def _wait(self) -> None:
        self._due = self._now() + self._seconds
        self._limit = self._clock.callLater(self._seconds, self._too_late)

    def _over(self) -> None:
        if self._limit.active():
            self._limit.cancel()


def _role(text: str) -> Role:
    for role in ROLES:
        if role == text:
            return role
    raise Malformed(f"there is no role {text!r:.30}")


def _common_version(theirs: list[int], their_software: str) -> int:
    common = set(theirs).intersection(PROTOCOL_VERSIONS)
    if not common:
        raise VersionMismatch(
            f"the coordinator runs ampacity {software()} and speaks {_show(PROTOCOL_VERSIONS)} of "
            f"the protocol; this side runs {their_software[:30]} and speaks {_show(theirs)}: "
            "install the same ampacity on both"
        )
    return max(common)


def _show(versions: Any) -> str:
    return "version " + ", ".join(f"{version!s:.20}" for version in list(versions)[:8])
