"""ampoule's starter and connector, as this project needs them.

Importing this installs a reactor, as importing ampoule does: import it once one is chosen.
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Any, Protocol

from ampoule.main import AMPConnector, ProcessStarter
from ampoule.pool import ProcessPool
from twisted.internet.interfaces import IReactorProcess
from twisted.internet.main import CONNECTION_DONE
from twisted.logger import Logger
from twisted.protocols.amp import AMP, BinaryBoxProtocol
from twisted.python.failure import Failure

from .bootstrap import BOOTSTRAP
from .errands import FROM_CHILD, JOBS_DONE, TO_CHILD, BoxReader, JobsDone, unpack_done
from .streams import READ_SIZE

if TYPE_CHECKING:
    from .launch import ChildOptions

_CLOSED = Failure(CONNECTION_DONE)


class ProcessOwner(Protocol):
    """Who is told what a process does."""

    def told(self, told: JobsDone) -> None:
        """Reports came. Raises what it likes where they make no sense."""

    def told_all(self) -> None:
        """These were all that came at once."""

    def pipe_closed(self) -> None:
        """The process has closed a pipe of its connection."""

    def exited(self, reason: Failure) -> None:
        """The process has ended; its pipes may still be open elsewhere."""

    def ended(self, reason: Failure) -> None:
        """The process has ended and the pipes of its connection are closed."""


class ChildLink(AMP):
    """The agent's side of the connection to a child."""

    def makeConnection(self, transport: Any) -> None:
        """As AMP's own, without its log line."""
        BinaryBoxProtocol.makeConnection(self, transport)

    def connectionLost(self, reason: Failure = _CLOSED) -> None:
        """As AMP's own, without its log line."""
        BinaryBoxProtocol.connectionLost(self, reason)
        self.transport = None

    def unhandledError(self, failure: Failure) -> None:
        """An answer that could not be used: the child is of no use, and its end says more."""
        if self.transport is not None:
            self.transport.loseConnection()


class ChildConnector(AMPConnector):
    """A child's process protocol: dispatches reports itself, and survives half-dead children."""

    _log = Logger()
    transport: Any

    def __init__(self, link: AMP, owner: ProcessOwner) -> None:
        super().__init__(link)
        self._owner = owner
        self._boxes = BoxReader(JOBS_DONE)

    def connectionMade(self) -> None:
        self.amp.makeConnection(self)

    def write(self, data: bytes) -> None:
        if TO_CHILD in self.transport.pipes:
            self.transport.writeToChild(TO_CHILD, data)

    def send(self, data: bytes) -> None:
        """Write at once what the pipe takes: Twisted's own way waits for the next turn."""
        writer = self.transport.pipes.get(TO_CHILD)
        if writer is None:
            return
        if not writer.dataBuffer:
            with contextlib.suppress(OSError):
                data = data[os.write(writer.fileno(), data) :]
        if data:
            writer.write(data)
            writer.doWrite()  # so that its buffer tells whether something waits

    def read_at_once(self) -> None:
        """Read what the child has sent, without waiting for the reactor to say so."""
        reader = self.transport.pipes.get(FROM_CHILD)
        with contextlib.suppress(OSError):
            while reader is not None and (data := os.read(reader.fileno(), READ_SIZE)):
                self.childDataReceived(FROM_CHILD, data)

    def loseConnection(self) -> None:
        for descriptor in (TO_CHILD, FROM_CHILD):
            self.transport.closeChildFD(descriptor)

    def childDataReceived(self, childFD: int, data: bytes) -> None:
        try:
            for is_report, box in self._boxes.feed(data):
                if is_report:
                    self._owner.told(unpack_done(box))
                else:
                    self.amp.dataReceived(box)
            self._owner.told_all()
        except Exception:  # noqa: BLE001  # a job may have written anything to the pipe
            self._log.failure("a child sent what cannot be understood")
            self.loseConnection()

    def childConnectionLost(self, childFD: int) -> None:
        self._owner.pipe_closed()

    def processExited(self, reason: Failure) -> None:
        self._owner.exited(reason)

    def processEnded(self, reason: Failure) -> None:
        # ``finished`` is left alone: ampoule would write to the log, and its pool goes anyway
        self.amp.connectionLost(reason)
        self._owner.ended(reason)


class ChildStarter(ProcessStarter):
    """Starts one child, with the given reactor, options, environment and descriptors."""

    def __init__(
        self,
        reactor: IReactorProcess,
        options: ChildOptions,
        env: dict[str, str],
        descriptors: dict[int, int | str],
        owner: ProcessOwner,
    ) -> None:
        super().__init__(bootstrap=BOOTSTRAP, env=env)
        self._reactor = reactor
        self._options = options
        self._descriptors = descriptors
        self._owner = owner
        self.connector: ChildConnector | None = None

    def connectorFactory(self, link: AMP) -> ChildConnector:
        return ChildConnector(link, self._owner)

    def startPythonProcess(self, prot: ChildConnector, *args: str) -> tuple[AMP, Any]:
        """Start it. ampoule's own way would put package folders on the child's PYTHONPATH.

        Raises:
            OSError: there is no such interpreter, or no room for a process.
        """
        words = [self._options.python, "-c", self.bootstrap, *args]
        if self._options.user is not None:
            words = self._options.user.words(words)
        self._reactor.spawnProcess(prot, words[0], words, self.env, childFDs=self._descriptors)
        self.connector = prot
        return prot.amp, prot.finished


def pool_of_one(starter: ChildStarter, agent: int) -> Any:
    """An ampoule pool that starts one child at its first call, and never another."""
    from .child import JobChild

    pool = ProcessPool(
        JobChild,
        ChildLink,
        min=0,
        max=1,
        recycleAfter=0,
        timeout=None,
        starter=starter,
        ampChildArgs=(str(agent),),
    )
    pool.looping.stop()
    return pool
