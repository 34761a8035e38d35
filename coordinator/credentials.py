"""Who may come in over the network: the coordinator's key, and the hashes of tokens handed out.

A join token for workers serves many of them until it expires; each exchanges it for a credential
of its own, which is kept. Secrets are never stored here: a token is shown once, when it is issued.
What is given counts once it is on disk; what is taken back counts at once, and is on disk before
whoever asked is told.
"""

from __future__ import annotations

import hmac
import json
import secrets
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal, Protocol

import attrs
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from ..protocol.access import StateFolder, read_secret, write_secret
from ..protocol.errors import NoSuchToken, TokenRefused
from ..protocol.tls import KeyPair
from ..protocol.tokens import ROLES, Role, Token, secret_hash

JOIN_LIFETIME = 24 * 3600.0
_SECRET_BYTES = 32
_VERSION = 2
"""Of the file. 1, of ampacity 0.2, has neither names nor the roles of operators and viewers."""
_NO_HASH = "0" * 64
"""Compared with where an id is unknown, so that this takes as long as a wrong secret."""


OnRevoked = Callable[[Sequence[str]], object]
"""Told of credentials that are good no more, in the turn that they cease to be."""


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
    name: str | None = None
    """What people call it: as it was made for, or as its worker is called."""


class Credentials:
    """Issues, exchanges and verifies tokens; every change is on disk before it counts."""

    log = Logger()

    def __init__(self, state: StateFolder, now: Callable[[], float] = time.time) -> None:
        self._state = state
        self.now = now
        self._known: dict[str, Credential] = {}
        self._key: KeyPair | None = None
        self._defer_to_thread: DeferToThread | None = None
        self._on_revoked: list[OnRevoked] = []
        self._waiting: list[Deferred[None]] = []
        self._saving = False

    @property
    def started(self) -> bool:
        """Whether there are any: a coordinator that listens nowhere has none."""
        return self._key is not None

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

    async def renew_certificate(self) -> bool:
        """Make the certificate again where it ends soon; whether it was. Tokens name the key, and
        the key stays."""
        renewed = self.key.renewed(self.now())
        if renewed is None:
            return False
        assert self._defer_to_thread is not None
        await self._defer_to_thread(write_secret, self._state.key, renewed.dumps())
        self._key = renewed
        self.log.info("the certificate was renewed; the key, which tokens name, is the same")
        return True

    # -- giving -----------------------------------------------------------------------------------

    async def issue(
        self,
        role: Role,
        use: Literal["join", "own"] = "own",
        lifetime: float | None = None,
        name: str | None = None,
    ) -> Token:
        """A new token; its secret is nowhere else. ``lifetime`` in seconds, none: for good."""
        return await self._issue(role, use, lifetime, None, name)

    async def exchange(self, join: Credential) -> Token:
        """For a worker that came with a join token, a token of its own.

        Raises:
            TokenRefused: one of the two was revoked meanwhile.
        """
        token = await self._issue(join.role, "own", None, join.id, None)
        if join.id not in self._known:
            self._known.pop(token.id, None)
        if token.id not in self._known:
            raise TokenRefused
        self.log.info("the token {join} was exchanged for {own}", join=join.id, own=token.id)
        return token

    async def _issue(
        self,
        role: Role,
        use: Literal["join", "own"],
        lifetime: float | None,
        origin: str | None,
        name: str | None,
    ) -> Token:
        token = Token(role, self.key.hash, _new_id(), secrets.token_bytes(_SECRET_BYTES))
        now = self.now()
        self._known[token.id] = Credential(
            id=token.id,
            role=role,
            use=use,
            hash=secret_hash(token.secret),
            created=now,
            expires=None if lifetime is None else now + lifetime,
            origin=origin,
            name=name,
        )
        try:
            await self._save()
        except BaseException:
            self._known.pop(token.id, None)  # nobody has seen it
            raise
        return token

    def withdraw(self, credential: str) -> None:
        """It could not be handed over: nobody has it. Written with the next change."""
        self._known.pop(credential, None)

    def name(self, credential: str, name: str) -> None:
        """A worker has joined under this name; told on the list, and kept with the next writing."""
        known = self._known.get(credential)
        if known is not None and known.name is None:
            self._known[credential] = attrs.evolve(known, name=name)

    # -- knowing ----------------------------------------------------------------------------------

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

    def list(self) -> Sequence[Credential]:
        """All that are good, in the order of their making."""
        return sorted(
            (known for known in self._known.values() if not self._expired(known)),
            key=lambda known: known.created,
        )

    def find(self, beginning: str) -> Credential:
        """The one whose id is this, or begins like this.

        Raises:
            NoSuchToken: none does, or several do.
        """
        if beginning in self._known:
            return self._known[beginning]
        found = [known for id_, known in self._known.items() if id_.startswith(beginning)]
        if not beginning or not found:
            raise NoSuchToken(f"there is no token {beginning!r:.60}")
        if len(found) > 1:
            raise NoSuchToken(f"{len(found)} tokens begin with {beginning!r:.60}: give more of it")
        return found[0]

    def _expired(self, credential: Credential) -> bool:
        return credential.expires is not None and credential.expires <= self.now()

    # -- taking back ------------------------------------------------------------------------------

    def on_revoked(self, callback: OnRevoked) -> None:
        """Call back with the ids of what was revoked or has expired."""
        self._on_revoked.append(callback)

    async def revoke(self, beginning: str, joined: bool = False) -> Sequence[str]:
        """Take a token back, named by its id or the beginning of it; with ``joined``, those, too,
        that workers were given for it. Their ids.

        They are good no more at once; when this returns, that is on disk.

        Raises:
            NoSuchToken: there is none, or several begin like this.
            OSError: it could not be written, and would be good again after a restart.
        """
        first = self.find(beginning)
        given = [own.id for own in self._known.values() if joined and own.origin == first.id]
        revoked = [first.id, *given]
        self._forget(revoked)
        await self._save()
        return revoked

    def expire(self) -> None:
        """Forget what has expired, and tell of it."""
        expired = [known.id for known in self._known.values() if self._expired(known)]
        if expired:
            self._forget(expired)
            self.log.info("expired: {expired}", expired=", ".join(expired))
            self._save().addErrback(self._not_written)

    def _forget(self, ids: Iterable[str]) -> None:
        gone = [id_ for id_ in ids if self._known.pop(id_, None) is not None]
        for callback in self._on_revoked:
            callback(gone)

    def _not_written(self, failure: Failure) -> None:
        self.log.failure("that credentials have expired could not be written", failure)

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
        kept = [known for known in self._known.values() if not self._expired(known)]
        try:
            await self._defer_to_thread(_write, self._state, kept)
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


def _write(state: StateFolder, kept: Sequence[Credential]) -> None:
    """Blocking: replace the file, which may hold thousands."""
    write_secret(state.credentials, _dump(kept))


def _dump(kept: Iterable[Credential]) -> bytes:
    lines = ",\n".join(json.dumps(attrs.asdict(credential)) for credential in kept)
    return f'{{"version": {_VERSION}, "credentials": [\n{lines}\n]}}\n'.encode()


def _parse(data: bytes) -> dict[str, Credential]:
    kept = json.loads(data)
    if kept["version"] not in (1, _VERSION):
        raise ValueError(f"it has version {kept['version']!r}, of a later ampacity")
    credentials = [Credential(**fields) for fields in kept["credentials"]]
    if any(c.role not in ROLES or not isinstance(c.hash, str) for c in credentials):
        raise ValueError("a credential of no known role")
    return {credential.id: credential for credential in credentials}
