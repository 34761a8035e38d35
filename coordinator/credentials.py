"""Who may come in over the network: the coordinator's key, and the hashes of tokens handed out.

A join token for workers serves many of them until it expires; each exchanges it for a credential
of its own, which is kept. Secrets are never stored here: a token is shown once, when it is issued.
"""

from __future__ import annotations

import hmac
import json
import secrets
import time
from collections.abc import Callable
from typing import Any, Literal, Protocol

import attrs
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from ..protocol.access import StateFolder, read_secret, write_secret
from ..protocol.errors import TokenRefused
from ..protocol.tls import KeyPair
from ..protocol.tokens import ROLES, Role, Token, secret_hash

JOIN_LIFETIME = 24 * 3600.0
_SECRET_BYTES = 32
_NO_HASH = "0" * 64
"""Compared with where an id is unknown, so that this takes as long as a wrong secret."""


class DeferToThread(Protocol):
    def __call__(self, function: Callable[..., Any], *arguments: Any) -> Deferred[Any]: ...


@attrs.frozen(kw_only=True)
class Credential:
    """What is kept of a token. Times are UNIX time."""

    id: str
    role: Role
    use: Literal["join", "own"]
    """``join``: to be exchanged by any number of workers; ``own``: of one holder."""
    hash: str = attrs.field(repr=False)
    created: float
    expires: float | None = None
    origin: str | None = None
    """The id of the join token that it was exchanged for."""


class Credentials:
    """Issues, exchanges and verifies tokens; every change is on disk before it counts."""

    log = Logger()

    def __init__(self, state: StateFolder, now: Callable[[], float] = time.time) -> None:
        self._state = state
        self._now = now
        self._known: dict[str, Credential] = {}
        self._key: KeyPair | None = None
        self._defer_to_thread: DeferToThread | None = None
        self._waiting: list[Deferred[None]] = []
        self._saving = False

    @property
    def key(self) -> KeyPair:
        """The coordinator's key pair, once it is started."""
        assert self._key is not None, "credentials are started first"
        return self._key

    async def start(self, defer_to_thread: DeferToThread) -> None:
        """Load the key pair and the credentials; the first start makes them.

        Raises:
            InsecureFolder: others can read them.
        """
        self._defer_to_thread = defer_to_thread
        self._key, self._known = await defer_to_thread(_load, self._state)

    async def issue(
        self, role: Role, use: Literal["join", "own"] = "own", lifetime: float | None = None
    ) -> Token:
        """A new token; its secret is nowhere else. ``lifetime`` in seconds, none: for good."""
        return await self._issue(role, use, lifetime, None)

    async def exchange(self, join: Credential) -> Token:
        """For a worker that came with a join token, a token of its own."""
        token = await self._issue(join.role, "own", None, join.id)
        self.log.info("{join} was exchanged for {own}", join=join.id, own=token.id)
        return token

    def verify(self, token_id: str, secret: bytes) -> Credential:
        """The credential that a token stands for.

        Raises:
            TokenRefused: there is none, the secret is wrong, or it has expired: never said which.
        """
        known = self._known.get(token_id)
        expected = _NO_HASH if known is None else known.hash
        fits = hmac.compare_digest(secret_hash(secret), expected)
        if known is None or not fits or self._expired(known):
            raise TokenRefused
        return known

    async def _issue(
        self, role: Role, use: Literal["join", "own"], lifetime: float | None, origin: str | None
    ) -> Token:
        token = Token(role, self.key.hash, _new_id(), secrets.token_bytes(_SECRET_BYTES))
        now = self._now()
        self._known[token.id] = Credential(
            id=token.id,
            role=role,
            use=use,
            hash=secret_hash(token.secret),
            created=now,
            expires=None if lifetime is None else now + lifetime,
            origin=origin,
        )
        await self._save()
        return token

    def _expired(self, credential: Credential) -> bool:
        return credential.expires is not None and credential.expires <= self._now()

    # -- on disk: what comes while the file is written goes with the next writing ------------------

    def _save(self) -> Deferred[None]:
        saved: Deferred[None] = Deferred()
        self._waiting.append(saved)
        if not self._saving:
            self._saving = True
            Deferred.fromCoroutine(self._save_all())
        return saved

    async def _save_all(self) -> None:
        while self._waiting:
            waiting, self._waiting = self._waiting, []
            failure = await self._write()
            for saved in waiting:
                if failure is None:
                    saved.callback(None)
                else:
                    saved.errback(failure)
        self._saving = False

    async def _write(self) -> Failure | None:
        assert self._defer_to_thread is not None
        self._known = {c.id: c for c in self._known.values() if not self._expired(c)}
        data = _dump(self._known)
        try:
            await self._defer_to_thread(write_secret, self._state.credentials, data)
        except Exception:  # noqa: BLE001 -- told to everybody whose change it was
            return Failure()
        return None


def _new_id() -> str:
    """Text of 11 characters that never begins like an option."""
    while (name := secrets.token_urlsafe(8)).startswith("-"):
        pass
    return name


def _load(state: StateFolder) -> tuple[KeyPair, dict[str, Credential]]:
    """Blocking: what is in the folder."""
    state.create()
    key = KeyPair.load_or_make(state.key)
    try:
        data = read_secret(state.credentials)
    except FileNotFoundError:
        return key, {}
    try:
        return key, _parse(data)
    except (ValueError, TypeError, KeyError, AttributeError) as e:
        raise ValueError(f"{state.credentials} is damaged ({e}); move it away") from None


def _dump(known: dict[str, Credential]) -> bytes:
    kept = [attrs.asdict(credential) for credential in known.values()]
    return json.dumps({"version": 1, "credentials": kept}, indent=1).encode()


def _parse(data: bytes) -> dict[str, Credential]:
    kept = json.loads(data)
    if kept["version"] != 1:
        raise ValueError(f"it has version {kept['version']!r}, of a later ampacity")
    credentials = [Credential(**fields) for fields in kept["credentials"]]
    if any(c.role not in ROLES or not isinstance(c.hash, str) for c in credentials):
        raise ValueError("a credential of no known role")
    return {credential.id: credential for credential in credentials}
