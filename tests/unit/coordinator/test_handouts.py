"""Tokens in files: good ones stay, others are replaced, and nobody else can read them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from ampacity.coordinator.credentials import Credentials
from ampacity.coordinator.handouts import hand_out
from ampacity.protocol.access import StateFolder
from ampacity.protocol.addresses import Address, parse_address
from ampacity.protocol.errors import InsecureFolder
from ampacity.protocol.tokens import Role, Token
from twisted.internet import threads

in_thread: Any = threads.deferToThread  # its signature is narrower than what we pass around
HERE = Address("head.example.org", 8786)
HALF_A_CENTURY = 50 * 365 * 86400.0


class Clock:
    """A wall clock to be set."""

    now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


def token_in(path: Path) -> Token:
    address = parse_address(path.read_text())
    assert str(address) == "head.example.org:8786"
    assert address.token is not None
    return address.token


async def started(folder: Path, clock: Any = None) -> Credentials:
    credentials = Credentials(StateFolder(folder), *filter(None, [clock]))
    await credentials.start(in_thread)
    return credentials


@pytest.mark.parametrize("role", ["worker", "client"])
@pytest_twisted.ensureDeferred
async def test_the_file_holds_a_token_of_the_role(tmp_path: Path, role: Role) -> None:
    credentials = await started(tmp_path / "state")
    path = tmp_path / "shared" / "token"
    await hand_out(credentials, role, HERE, path, in_thread)
    token = token_in(path)
    known = credentials.verify(token.id, token.secret)
    assert (known.role, known.use) == (role, "join" if role == "worker" else "own")
    assert path.stat().st_mode & 0o777 == 0o600


@pytest_twisted.ensureDeferred
async def test_a_good_one_stays_over_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "shared" / "token"
    await hand_out(await started(tmp_path / "state"), "worker", HERE, path, in_thread)
    before = path.read_text()
    await hand_out(await started(tmp_path / "state"), "worker", HERE, path, in_thread)
    assert path.read_text() == before


@pytest_twisted.ensureDeferred
async def test_it_does_not_expire(tmp_path: Path) -> None:
    clock = Clock()
    credentials = await started(tmp_path / "state", clock)
    path = tmp_path / "shared" / "token"
    await hand_out(credentials, "worker", HERE, path, in_thread)
    clock.now += HALF_A_CENTURY
    token = token_in(path)
    assert credentials.verify(token.id, token.secret).use == "join"


@pytest.mark.parametrize(
    "lying", ["damaged", "another coordinator's", "another role's", "another host's"]
)
@pytest_twisted.ensureDeferred
async def test_what_is_not_good_is_replaced(tmp_path: Path, lying: str) -> None:
    credentials = await started(tmp_path / "state")
    path = tmp_path / "shared" / "token"
    if lying == "another coordinator's":
        await hand_out(await started(tmp_path / "other"), "worker", HERE, path, in_thread)
    elif lying == "another host's":
        await hand_out(credentials, "worker", Address("old.example.org"), path, in_thread)
    else:
        await hand_out(credentials, "client", HERE, path, in_thread)
    if lying == "damaged":
        path.write_text(path.read_text()[5:])
    before = path.read_text()
    await hand_out(credentials, "worker", HERE, path, in_thread)
    assert path.read_text() != before
    token = token_in(path)
    assert credentials.verify(token.id, token.secret).role == "worker"


@pytest_twisted.ensureDeferred
async def test_a_folder_that_others_can_read_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "shared"
    folder.mkdir(mode=0o755)
    credentials = await started(tmp_path / "state")
    with pytest.raises(InsecureFolder, match="chmod 700"):
        await hand_out(credentials, "worker", HERE, folder / "token", in_thread)
    assert list(folder.iterdir()) == []
