"""Tokens left in files, for workers and clients that share a volume with the coordinator."""

from __future__ import annotations

from pathlib import Path

from ..protocol.access import read_secret, write_secret
from ..protocol.errors import TokenDamaged, TokenRefused
from ..protocol.tokens import Role, parse_token
from .credentials import Credentials, DeferToThread


async def hand_out(
    credentials: Credentials, role: Role, path: Path, defer_to_thread: DeferToThread
) -> None:
    """Leave a token for a role in a file, unless a good one lies there already.

    It does not expire: machines that are added later find it there. Only this user can read it.

    Raises:
        InsecureFolder: others can read the file or its folder.
    """
    lying: str | None = await defer_to_thread(_read, path)
    if lying is not None and _good(credentials, role, lying):
        return
    token = await credentials.issue(role, "join" if role == "worker" else "own")
    await defer_to_thread(write_secret, path, f"{token.reveal()}\n".encode())


def _read(path: Path) -> str | None:
    try:
        return read_secret(path).decode(errors="replace")
    except FileNotFoundError:
        return None


def _good(credentials: Credentials, role: Role, text: str) -> bool:
    try:
        token = parse_token(text)
        credentials.verify(token.id, token.secret)
    except (TokenDamaged, TokenRefused):
        return False
    return token.role == role and token.key_hash == credentials.key.hash
