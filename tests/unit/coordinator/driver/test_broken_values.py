"""A disk that does not keep a value: the coordinator has to end, as when the store is broken."""

from __future__ import annotations

import errno
from typing import Any

from ampacity.protocol.blobfiles import SyncFailed
from twisted.python.failure import Failure


def test_a_sync_of_a_value_that_fails_ends_the_coordinator(house: Any, logged_errors: Any) -> None:
    told: list[Failure] = []
    house.driver.on_broken = told.append
    house.blobs.on_broken(SyncFailed(errno.EIO, "Input/output error"))
    house.turn()
    assert [failure.type for failure in told] == [SyncFailed]
    assert logged_errors(SyncFailed)
