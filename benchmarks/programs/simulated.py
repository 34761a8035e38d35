"""Workers that do nothing: ``python -m ...programs.simulated ADDRESS COUNT [BUSY]``.

Each is a connection of its own that says that a job has succeeded as soon as it is assigned; with
``BUSY``, it says that it runs, and no more. When all have joined, a JSON object says so. The
process, and so every worker at once, ends by SIGKILL.
"""

from __future__ import annotations

import json
import os
import pickle
import resource
import sys
import time
from typing import Any

import attrs
from twisted.internet import task
from twisted.internet.defer import Deferred, DeferredSemaphore, gatherResults
from twisted.protocols import amp

from ...protocol.commands import (
    Assign,
    AttachWorker,
    Begun,
    Drain,
    EndAttempts,
    Finished,
    Join,
    Reload,
    Retract,
    Returned,
)
from ...protocol.connection import Connection
from ...protocol.dialing import dial
from ...protocol.jobs import unpack_assignments
from ...protocol.outcomes import (
    Ending,
    JobLog,
    Outcome,
    Report,
    pack_log,
    pack_outcome,
    pack_reports,
)
from ...protocol.ports import WorkerInfo

SLOTS = 2
AT_ONCE = 30
"""Workers that dial at the same time."""
PYTHON = "9.9"
"""Of the children that busy workers do not have: what asks for it comes to them alone."""
RESULT = pickle.dumps(0)


class Simulated(amp.CommandLocator):
    """One worker's answers."""

    def __init__(self, busy: bool) -> None:
        self.connection: Connection | None = None
        self._busy = busy

    @Assign.responder
    def assign(self, jobs: bytes) -> dict[str, Any]:
        assignments = unpack_assignments(jobs)
        now = time.time()
        if self._busy:
            begun = [[a.job, *a.attempt, now] for a in assignments]
            self._tell(Begun, attempts=begun)
        else:
            reports = [
                Report(a.job, a.attempt, Ending.SUCCEEDED, now, 1e-5, BODY) for a in assignments
            ]
            self._tell(Finished, reports=pack_reports(reports))
        return {}

    @Retract.responder
    def retract(self, attempts: Any) -> dict[str, Any]:
        """All are done, or have begun."""
        return {}

    @EndAttempts.responder
    def end(self, attempts: Any) -> dict[str, Any]:
        self._tell(Returned, attempts=[attempt[:3] for attempt in attempts])
        return {}

    @AttachWorker.responder
    def attach(self, job: int, follow: bool) -> dict[str, Any]:
        return {"log": pack_log(JobLog())}

    @Reload.responder
    def reload(self) -> dict[str, Any]:
        return {}

    @Drain.responder
    def drain(self) -> dict[str, Any]:
        return {}

    def _tell(self, command: type[amp.Command], **arguments: Any) -> None:
        if self.connection is not None:
            self.connection.call(command, **arguments).addErrback(lambda _lost: None)


BODY = pack_outcome(Outcome(value=RESULT))


async def join(reactor: Any, address: str, number: int, busy: bool) -> None:
    worker = Simulated(busy)
    greeted = await dial(reactor, address, "worker", None, worker, waiting=60.0)
    worker.connection = greeted.connection
    info = WorkerInfo(
        name=f"simulated-{number}",
        incarnation=os.urandom(16),
        slots=SLOTS,
        python=PYTHON if busy else "3.11",
        host="",
        software="",
    )
    await greeted.connection.call(Join, info=attrs.asdict(info), held=[])


async def stay(reactor: Any, address: str, count: int, busy: bool) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, count + 256)), hard))
    gate = DeferredSemaphore(AT_ONCE)

    def one(number: int) -> Deferred[None]:
        return Deferred.fromCoroutine(join(reactor, address, number, busy))

    await gatherResults([gate.run(one, number) for number in range(count)], consumeErrors=True)
    print(json.dumps({"joined": count}), flush=True)
    await Deferred()


def main(reactor: Any, address: str, count: str, *busy: str) -> Deferred[None]:
    return Deferred.fromCoroutine(stay(reactor, address, int(count), bool(busy)))


if __name__ == "__main__":
    task.react(main, sys.argv[1:])
