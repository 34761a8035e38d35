"""The form of a token: ``amp1.<role>.<key hash>.<id>.<secret>.<checksum>``.

The key hash pins the coordinator's public key (SHA-256 of its SubjectPublicKeyInfo), so that the
joining side knows who it speaks to before it says anything. The checksum tells a damaged copy
from a wrong token. All parts but the role are URL-safe base64 without padding.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from typing import Literal, cast

import attrs

from .errors import TokenDamaged

Role = Literal["worker", "client", "operator", "viewer"]
"""What a token's holder may do; see ``docs/reference/protocol.md``."""
ROLES: tuple[Role, ...] = ("worker", "client", "operator", "viewer")

Side = Literal["worker", "client"]
"""What a connection is for: the roles but that of workers are clients' ones."""
SIDES: tuple[Side, ...] = ("worker", "client")

_FORM = re.compile(r"amp1\.([a-z]+)\.([\w-]{43})\.([\w-]{8,24})\.([\w-]{22,64})\.([\w-]{8})", re.A)


@attrs.frozen
class Token:
    """One credential. Its ``repr`` and ``str`` hide the secret; ``reveal`` shows it."""

    role: Role
    key_hash: bytes
    id: str
    secret: bytes = attrs.field(repr=False)

    def reveal(self) -> str:
        """The whole token as text, to be handed to who shall use it."""
        body = f"amp1.{self.role}.{_encode(self.key_hash)}.{self.id}.{_encode(self.secret)}"
        return f"{body}.{_checksum(body)}"

    def __str__(self) -> str:
        return f"token {self.id} ({self.role})"


def parse_token(text: str) -> Token:
    """The token in a text, white space around it ignored.

    Raises:
        TokenDamaged: it is no token, or the checksum does not fit. The text is never repeated
            in the message.
    """
    text = text.strip()
    found = _FORM.fullmatch(text)
    if found is None:
        raise TokenDamaged(
            "this is not a whole token: one looks like amp1.worker.….….….…; copy it again"
        )
    role, key_hash, name, secret, checksum = found.groups()
    body = text.rpartition(".")[0]
    if _checksum(body) != checksum:
        raise TokenDamaged
    if role not in ROLES:
        raise TokenDamaged(f"this release knows no tokens for the role {role!r}")
    try:
        return Token(cast(Role, role), _decode(key_hash), name, _decode(secret))
    except binascii.Error:
        raise TokenDamaged from None


def side_of(role: Role) -> Side:
    """The side that a role connects as."""
    return "worker" if role == "worker" else "client"


def secret_hash(secret: bytes) -> str:
    """What is stored of a secret: it has 128 random bits or more, so one SHA-256 is enough."""
    return hashlib.sha256(secret).hexdigest()


def _checksum(body: str) -> str:
    return _encode(hashlib.sha256(body.encode()).digest()[:6])


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _decode(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
