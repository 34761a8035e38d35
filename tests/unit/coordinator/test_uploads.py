"""What a peer may send before anything refers to it."""

from __future__ import annotations

from collections.abc import Container

import pytest
from ampacity.coordinator.uploads import Uploads
from ampacity.protocol.errors import Malformed, QueueFull, StorageFull, TooLarge
from ampacity.protocol.jobs import BlobRef


def ref(name: int, size: int) -> BlobRef:
    return BlobRef(bytes([name]) * 32, size)


def settle_gone(uploads: Uploads, coming: Container[bytes]) -> None:
    """In all of its steps; nothing is here."""
    for _ in uploads.settle_gone(lambda _: False, lambda: coming):
        pass


def test_the_largest_value() -> None:
    uploads = Uploads(1000, 100)
    uploads.check("a", ref(1, 100))
    with pytest.raises(TooLarge, match="101 bytes; the limit is 100"):
        uploads.check("a", ref(2, 101))


def test_bytes_that_nothing_refers_to() -> None:
    uploads = Uploads(150, 100)
    for _ in range(3):
        uploads.check("a", ref(1, 100))  # chunk after chunk
    with pytest.raises(QueueFull, match="150 bytes"):
        uploads.check("a", ref(2, 100))
    uploads.check("b", ref(2, 100))
    uploads.check("b", ref(1, 50))
    uploads.settle([ref(1, 0).digest])
    uploads.check("a", ref(2, 100))


def test_the_first_value_is_taken_however_little_there_may_be() -> None:
    Uploads(10, 100).check("a", ref(1, 100))


def test_a_worker_may_send_more_and_tries_again() -> None:
    uploads = Uploads(100, 100)
    for name in range(4):
        uploads.check("w", ref(name, 100), worker=True)
    with pytest.raises(StorageFull):
        uploads.check("w", ref(9, 100), worker=True)


def test_a_value_has_one_size() -> None:
    uploads = Uploads(1000, 100)
    uploads.check("a", ref(1, 10))
    with pytest.raises(Malformed, match="10 bytes cannot have 99"):
        uploads.check("a", ref(1, 99))
    uploads.check("b", ref(1, 99))  # who was lied to is not harmed


def test_many_small_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ampacity.coordinator.uploads.VALUES", 3)
    uploads = Uploads(1000, 100)
    for name in range(3):
        uploads.check("a", ref(name, 0))
    with pytest.raises(QueueFull, match="3 values"):
        uploads.check("a", ref(9, 0))


def test_what_is_neither_here_nor_coming_counts_no_more() -> None:
    uploads = Uploads(100, 100)
    uploads.check("a", ref(1, 100))
    settle_gone(uploads, {ref(1, 0).digest})
    with pytest.raises(QueueFull):
        uploads.check("a", ref(2, 1))
    settle_gone(uploads, ())
    uploads.check("a", ref(2, 1))
    settle_gone(uploads, ())
    assert not uploads._sizes and not uploads._bytes and not uploads._owners
