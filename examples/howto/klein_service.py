"""A web service in Klein whose heavy part runs in other processes."""

import json
import sys
from typing import Any

from ampacity import Job, JobCrashed, JobTimedOut, Pool, QueueFull
from heavy import factors
from klein import Klein
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.task import react
from twisted.python.failure import Failure
from twisted.web.iweb import IRequest
from twisted.web.server import Request, Site

MOST_UNDER_WAY = 3


class Factors:
    app = Klein()

    def __init__(self, pool: Pool) -> None:
        self.pool = pool.options(timeout=3)
        self.under_way = 0

    @app.route("/")
    def alive(self, request: Request) -> bytes:
        return b"alive"

    @app.route("/factors/<int:number>")
    async def factors(self, request: Request, number: int) -> bytes:
        if self.under_way == MOST_UNDER_WAY:
            raise QueueFull(f"{self.under_way} are under way")
        self.under_way += 1
        try:
            job = self.pool.submit(factors, number)
            request.notifyFinish().addErrback(self.went_away, job)
            return json.dumps(await job).encode()
        finally:
            self.under_way -= 1

    def went_away(self, reason: Failure, job: Job[Any]) -> None:
        """Nobody waits for the answer any more."""
        print(f"the client went away, job {job.id} is cancelled")
        job.cancel()

    @app.handle_errors(QueueFull)
    def too_much(self, request: IRequest, failure: Failure) -> bytes:
        request.setResponseCode(503)
        request.setHeader("Retry-After", "1")
        return b"too much to do, come again"

    @app.handle_errors(JobTimedOut)
    def too_long(self, request: IRequest, failure: Failure) -> bytes:
        request.setResponseCode(504)
        return b"that takes too long"

    @app.handle_errors(JobCrashed)
    def crashed(self, request: IRequest, failure: Failure) -> bytes:
        print(failure.getErrorMessage())  # with its signal, its memory, its last output
        request.setResponseCode(500)
        return b"that went wrong"


async def main(reactor: Any, port: str = "8080") -> None:
    async with Pool(slots=2) as pool:  # its processes run before the first request comes
        endpoint = serverFromString(reactor, f"tcp:{port}:interface=127.0.0.1")
        listening = await endpoint.listen(Site(Factors(pool).app.resource()))
        print(f"listening on http://127.0.0.1:{listening.getHost().port}")
        await Deferred()  # until it is interrupted


if __name__ == "__main__":
    react(main, sys.argv[1:])
