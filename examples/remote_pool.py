"""Jobs for the coordinator that runs on this machine, or for the one at an address.

ampacity up                                     # in another terminal
python examples/remote_pool.py
python examples/remote_pool.py 'host:8786#TOKEN'
"""

from __future__ import annotations

import math
import sys
from typing import Any

from ampacity import NoCoordinator, Pool
from twisted.internet import task
from twisted.internet.defer import Deferred


async def work(reactor: Any, address: str | None) -> None:
    pool = Pool.connect(address, reactor=reactor)
    try:
        await pool.ready()
    except NoCoordinator as error:
        raise SystemExit(str(error)) from None
    digits = pool.map(lambda n: len(str(math.factorial(n))), range(1000, 1100))
    print("digits in all:", sum(await digits))
    print(f"the results stay for a while: ampacity result {digits.id}")
    await pool.close()


if __name__ == "__main__":
    given = sys.argv[1] if len(sys.argv) > 1 else None
    task.react(lambda reactor: Deferred.fromCoroutine(work(reactor, given)))
