"""A web service in twisted.web: texts are posted, and looked through in other processes."""

import json
import sys
from typing import Any

from ampacity import Job, JobCrashed, JobFailed, JobTimedOut, Pool, QueueFull
from heavy import near_duplicates
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.task import react
from twisted.python.failure import Failure
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request, Site

LARGEST = 1_000_000
MOST_UNDER_WAY = 100


class Duplicates(Resource):
    """POST a text: the pairs of its lines that are nearly the same, as JSON."""

    isLeaf = True

    def __init__(self, pool: Pool) -> None:
        super().__init__()
        self.pool = pool.options(timeout=30, retries=1, retry_on=MemoryError)
        self.under_way = 0

    def render_POST(self, request: Request) -> Any:
        assert request.content is not None  # it has come as a whole
        text = request.content.read(LARGEST + 1)
        if len(text) > LARGEST:
            return self.refuse(request, 413, "that is too long")
        if self.under_way == MOST_UNDER_WAY:
            return self.refuse(request, 503, "too much to do, come again")
        self.under_way += 1
        job = self.pool.submit(near_duplicates, text.decode("utf-8", "replace"))
        gone = request.notifyFinish()
        gone.addErrback(lambda _: job.cancel())  # the client went away
        result = job.result()
        result.addCallback(lambda pairs: json.dumps(pairs).encode())
        result.addErrback(self.went_wrong, request, job)
        result.addCallback(self.finish, request)
        return NOT_DONE_YET

    def went_wrong(self, failure: Failure, request: Request, job: Job[Any]) -> bytes:
        if failure.check(JobTimedOut):
            return self.refuse(request, 504, "that takes too long")
        if failure.check(QueueFull):  # of a coordinator that others use, too
            return self.refuse(request, 503, "too much to do, come again")
        if failure.check(JobCrashed, JobFailed):
            print(failure.getErrorMessage())
        return self.refuse(request, 500, f"that went wrong; it was job {job.id}")

    def finish(self, body: bytes, request: Request) -> None:
        self.under_way -= 1
        if request.channel is not None:  # else it has gone
            request.write(body)
            request.finish()

    def refuse(self, request: Request, code: int, why: str) -> bytes:
        request.setResponseCode(code)
        return why.encode()


async def main(reactor: Any, port: str = "8080") -> None:
    root = Resource()
    async with Pool() as pool:  # its processes run before the first request comes
        root.putChild(b"duplicates", Duplicates(pool))
        endpoint = serverFromString(reactor, f"tcp:{port}:interface=127.0.0.1")
        listening = await endpoint.listen(Site(root))
        print(f"listening on http://127.0.0.1:{listening.getHost().port}")
        await Deferred()  # until it is interrupted


if __name__ == "__main__":
    react(main, sys.argv[1:])
