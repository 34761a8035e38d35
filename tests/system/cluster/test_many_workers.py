"""Hundreds of workers that join at once: after a coordinator's restart, say."""

from __future__ import annotations

import os
from random import SystemRandom
from typing import Any

import attrs
import pytest
import pytest_twisted
from ampacity.cli.connection import Link
from ampacity.protocol.addresses import Address, parse_address
from ampacity.protocol.commands import Goodbye, Join
from ampacity.protocol.dialing import WAITING_SECONDS, Greeted, dial
from ampacity.protocol.errors import NoCoordinator
from ampacity.protocol.ports import WorkerInfo
from ampacity.workers.backoff import Backoff
from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import deferLater
from twisted.protocols import amp

reactor: Any = _reactor

WORKERS = 500
SECONDS = 30.0


async def reach(address: Address) -> Greeted:
    """Dial until it works, as agents do: of many at once, some may have to give their place up."""
    backoff = Backoff(SystemRandom())
    while True:
        try:
            token = address.token
            return await dial(
                reactor, address, "worker", token, amp.CommandLocator(), waiting=WAITING_SECONDS
            )
        except NoCoordinator:
            await deferLater(reactor, backoff.next())


async def join(line: str, number: int) -> Any:
    """One worker, as far as a coordinator can tell."""
    greeted = await reach(parse_address(line))
    info = WorkerInfo(
        name=f"w{number}",
        incarnation=os.urandom(16),
        slots=1,
        python="3.11",
        host="here",
        software="0.1.0",
    )
    answer = await greeted.connection.call(Join, info=attrs.asdict(info), held=[])
    assert answer["name"] == f"w{number}"
    return greeted.connection


@pytest.mark.parametrize("way", ["worker", "unix"])
@pytest_twisted.ensureDeferred
async def test_many_workers_join_at_once(cluster: Any, way: str) -> None:
    await cluster.start()
    began = reactor.seconds()
    joining = [Deferred.fromCoroutine(join(cluster.lines[way], n)) for n in range(WORKERS)]
    connections = await gatherResults(joining, consumeErrors=True)
    took = reactor.seconds() - began
    assert took < SECONDS
    pool = cluster.pool()
    await pool.ready()
    status = await Link(pool._engine.session()).query("status")
    print(way, took, status["lag"])
    assert status["workers"] == status["slots"] == WORKERS
    for connection in connections:
        await connection.call(Goodbye)
        connection.abort()
