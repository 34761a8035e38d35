"""The credentials that the workers of this machine were given, by the key of their coordinator.

A file a coordinator, readable by its owner only: the token, then the addresses under which the
coordinator was reached with it, a line each.
"""

from __future__ import annotations

from pathlib import Path

import attrs

from ..protocol.access import StateFolder, read_secret, write_secret
from ..protocol.addresses import Address
from ..protocol.errors import TokenDamaged
from ..protocol.tokens import Token, parse_token


@attrs.frozen
class KeptCredentials:
    """All of this blocks: files are read and written."""

    state: StateFolder

    def find(self, address: Address, given: Token | None) -> Token | None:
        """What was kept for the coordinator whose key a token names, else for an address.

        Raises:
            InsecureFolder: others can read it.
        """
        if given is not None:
            return self._read(self._path(given))[0]
        for path in sorted(self._path_of("any").parent.glob("*.token")):
            token, addresses = self._read(path)
            if token is not None and str(address) in addresses:
                return token
        return None

    def keep(self, address: Address, token: Token) -> None:
        """Keep a credential, and that it is good at this address."""
        path = self._path(token)
        addresses = {*self._read(path)[1], str(address)}
        write_secret(path, "\n".join([token.reveal(), *sorted(addresses), ""]).encode())

    def forget(self, token: Token) -> None:
        """The coordinator does not accept this one any more."""
        path = self._path(token)
        kept = self._read(path)[0]
        if kept is not None and kept.id == token.id:
            path.unlink(missing_ok=True)

    def _path(self, token: Token) -> Path:
        return self._path_of(token.key_hash.hex())

    def _path_of(self, name: str) -> Path:
        return self.state.joined(name)

    def _read(self, path: Path) -> tuple[Token | None, list[str]]:
        """A damaged file counts as none: with a token given, it is written again."""
        try:
            first, *addresses = read_secret(path).decode().splitlines() or [""]
            return parse_token(first), addresses
        except (FileNotFoundError, UnicodeDecodeError, TokenDamaged):
            return None, []
