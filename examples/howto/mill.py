"""A service of your own with a pool inside: it starts, and stops, with everything else.

It takes the files of one folder, looks through each in another process, and puts what was found
into another folder.
"""

import json
import sys
from pathlib import Path
from typing import Any

from ampacity import JobCancelled, Pool
from heavy import near_duplicates
from twisted.application.internet import TimerService
from twisted.application.service import MultiService
from twisted.internet.defer import Deferred, DeferredSemaphore
from twisted.internet.task import react
from twisted.python.failure import Failure


class Mill(MultiService):
    """Its pool is a service, too, and starts with it."""

    def __init__(self, inbox: Path, outbox: Path) -> None:
        super().__init__()
        self.inbox, self.outbox = inbox, outbox
        self.whole = Pool()
        self.whole.setServiceParent(self)
        self.pool = self.whole.options(timeout=60, retries=1)
        self.most = DeferredSemaphore(100)
        self.under_way: set[Path] = set()
        self.look = TimerService(0.2, self.take)
        self.look.setServiceParent(self)

    def take(self) -> None:
        """Begin with what has come since."""
        for file in sorted(self.inbox.glob("*.txt")):
            if file not in self.under_way:
                self.under_way.add(file)
                self.most.run(self.grind, file)

    async def grind(self, file: Path) -> None:
        try:
            pairs = await self.pool.submit(near_duplicates, file.read_text())
        except JobCancelled:
            return  # the service has stopped: the file is there at its next start
        except Exception:
            print(f"{file.name}: {Failure().getErrorMessage()}")
            file.rename(file.with_suffix(".failed"))
        else:
            (self.outbox / f"{file.stem}.json").write_text(json.dumps(pairs))
            file.unlink()
            print(f"{file.name}: {len(pairs)} pairs")
        self.under_way.discard(file)

    def stopService(self) -> Deferred[None]:
        """Nothing new is taken; what was taken has ten seconds; then the rest of it all ends."""
        self.look.disownServiceParent()
        ground = self.whole.close(grace=10)
        return ground.addCallback(lambda _: MultiService.stopService(self))


async def main(reactor: Any, inbox: str, outbox: str) -> None:
    mill = Mill(Path(inbox), Path(outbox))
    reactor.addSystemEventTrigger("before", "shutdown", mill.stopService)
    mill.startService()
    print("it turns")
    await Deferred()  # until it is interrupted


if __name__ == "__main__":
    react(main, sys.argv[1:])
