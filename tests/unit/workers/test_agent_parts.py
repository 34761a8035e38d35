"""What an agent keeps and how it waits: credentials, the spread of tries, the cache, the load."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest
from ampacity.loopwatch import LagMeter
from ampacity.protocol.access import StateFolder
from ampacity.protocol.addresses import parse_address
from ampacity.protocol.blobs import BlobFolder
from ampacity.protocol.errors import InsecureFolder, NoSuchBlob
from ampacity.protocol.jobs import BlobRef
from ampacity.protocol.tokens import Token
from ampacity.workers.backoff import FIRST_SECONDS, LONGEST_SECONDS, Backoff
from ampacity.workers.blobcache import BlobCache
from ampacity.workers.credentials import KeptCredentials
from ampacity.workers.load import Load
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock

HERE, THERE = parse_address("here:8786"), parse_address("there:1")


def token(key: bytes, name: str = "credential") -> Token:
    return Token("worker", key * 32, name, b"s" * 16)


# -- credentials ----------------------------------------------------------------------------------


@pytest.fixture
def kept(tmp_path: Path) -> KeptCredentials:
    return KeptCredentials(StateFolder(tmp_path / "state"))


def test_nothing_is_kept_at_first(kept: KeptCredentials) -> None:
    assert kept.find(HERE, None) is None
    assert kept.find(HERE, token(b"a")) is None


def test_a_credential_is_found_by_its_address_and_by_its_key(kept: KeptCredentials) -> None:
    kept.keep(HERE, token(b"a"))
    kept.keep(THERE, token(b"b"))
    assert kept.find(HERE, None) == token(b"a")
    assert kept.find(THERE, None) == token(b"b")
    assert kept.find(THERE, token(b"a", "join-token")) == token(b"a")
    assert kept.find(parse_address("elsewhere"), None) is None


def test_one_coordinator_may_have_several_addresses(kept: KeptCredentials) -> None:
    kept.keep(HERE, token(b"a"))
    kept.keep(THERE, token(b"a", "newer-one"))
    assert kept.find(HERE, None) == kept.find(THERE, None) == token(b"a", "newer-one")


def test_a_credential_is_forgotten_and_no_other(kept: KeptCredentials) -> None:
    kept.keep(HERE, token(b"a"))
    kept.forget(token(b"a", "another-one"))
    assert kept.find(HERE, None) == token(b"a")
    kept.forget(token(b"a"))
    assert kept.find(HERE, None) is None


def test_a_credential_that_others_can_read_is_not_used(kept: KeptCredentials) -> None:
    kept.keep(HERE, token(b"a"))
    (path,) = (kept.state.path / "joined").iterdir()
    path.chmod(0o644)
    with pytest.raises(InsecureFolder, match="chmod 600"):
        kept.find(HERE, None)


@pytest.mark.parametrize("damage", [b"", b"no token\nhere:8786\n", b"\xff\xfe"])
def test_a_damaged_credential_is_none(kept: KeptCredentials, damage: bytes) -> None:
    kept.keep(HERE, token(b"a"))
    (path,) = (kept.state.path / "joined").iterdir()
    path.write_bytes(damage)
    assert kept.find(HERE, None) is None
    kept.keep(HERE, token(b"a"))
    assert kept.find(HERE, None) == token(b"a")


# -- the spread of tries --------------------------------------------------------------------------


def test_waits_double_to_a_bound_and_begin_again() -> None:
    backoff = Backoff(Random(1))
    waits = []
    for _ in range(300):
        waits.append([backoff.next() for _ in range(8)])
        backoff.reset()
    longest = [max(times) for times in zip(*waits, strict=True)]
    bounds = [min(FIRST_SECONDS * 2**n, LONGEST_SECONDS) for n in range(8)]
    for seen, bound in zip(longest, bounds, strict=True):
        assert 0.9 * bound < seen <= bound


def test_the_first_waits_of_many_are_spread_evenly() -> None:
    random = Random(2)
    waits = sorted(Backoff(random).next() for _ in range(500))
    tenths = [sum(n / 10 <= wait < (n + 1) / 10 for wait in waits) for n in range(10)]
    assert min(tenths) > 25
    assert max(tenths) < 80


# -- the cache ------------------------------------------------------------------------------------


class Folder(BlobFolder):
    def __init__(self, *digests: bytes) -> None:
        self.there = set(digests)

    def start(self) -> Deferred[None]:
        return succeed(None)

    def digests(self) -> set[bytes]:
        return self.there

    def has(self, digest: bytes) -> bool:
        return digest in self.there

    def file(self, ref: BlobRef) -> Path:
        if ref.digest not in self.there:
            raise NoSuchBlob
        return Path(ref.digest.hex())

    def remove(self, digest: bytes) -> Deferred[None]:
        self.there.discard(digest)
        return succeed(None)


def test_a_cache_begins_empty() -> None:
    folder = Folder(b"a", b"b")
    Deferred.fromCoroutine(BlobCache(folder, 100).start())
    assert folder.there == set()


def test_a_value_that_is_larger_than_the_cache_stays_while_it_is_used() -> None:
    folder = Folder(b"a", b"b")
    cache = BlobCache(folder, 100)
    large, small = BlobRef(b"a", 1000), BlobRef(b"b", 10)
    cache.hold([large])
    assert cache.take(large) == Path(b"a".hex())
    assert (cache.size, folder.there) == (1000, {b"a", b"b"})
    cache.release([large])
    assert (cache.size, folder.there) == (0, {b"b"})
    assert cache.take(small) == cache.take(small)
    assert cache.size == 10
    with pytest.raises(NoSuchBlob):
        cache.take(large)


# -- the load -------------------------------------------------------------------------------------


def test_the_load_is_plain_data() -> None:
    load = Load(LagMeter(Clock())).now()
    assert 0 <= load["cpu"] <= 100
    assert load["memory"] > 1024 * 1024
    assert set(load["lag"]) >= {"p50", "p99", "max", "ticks"}
