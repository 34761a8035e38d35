"""Tokens left in files, for workers and clients that share a volume with the coordinator."""

from __future__ import annotations

from pathlib import Path

import attrs

from ..protocol.access import read_secret, write_secret
from ..protocol.addresses import Address, parse_address
from ..protocol.errors import TokenDamaged, TokenRefused
from ..protocol.tokens import Role
from .credentials import Credentials, DeferToThread


async def hand_out(
    credentials: Credentials,
    role: Role,
    address: Address,
    path: Path,
    defer_to_thread: DeferToThread,
) -> None:
    """Leave a line to join with, ``host:8786#TOKEN``, in a file, unless a good one lies there.

    The token does not expire: machines that are added later find it there. Only this user can
    read the file.

    Raises:
        InsecureFolder: others can read the file or its folder.
    """
    lying: str | None = await defer_to_thread(_read, path)
    if lying is not None and _good(credentials, role, address, lying):
        return
    token = await credentials.issue(role, "join" if role == "worker" else "own")
    line = attrs.evolve(address, token=token).line()
    await defer_to_thread(write_secret, path, f"{line}\n".encode())


def _read(path: Path) -> str | None:
    try:
        return read_secret(path).decode(errors="replace")
    except FileNotFoundError:
        return None


def _good(credentials: Credentials, role: Role, address: Address, text: str) -> bool:
    try:
        lying = parse_address(text)
    except (ValueError, TokenDamaged):
        return False
    token = lying.token
    if token is None or attrs.evolve(lying, token=None) != attrs.evolve(address, token=None):
        return False
    try:
        credentials.verify(token.id, token.secret)
    except TokenRefused:
        return False
    return token.role == role and token.key_hash == credentials.key.hash
