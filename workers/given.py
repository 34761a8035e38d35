"""The jobs that one child was given: which have begun, which are over, and what they print.

Jobs are numbered from 1 in the order in which they begin. How many have begun is told by the
permits, how many have ended by the child's reports. A job that has printed something is over when
the markers behind its output have come, too; one that has not is over with its report.

Who looks here for what is so now, and not only for what has come to be known, brings it up to date
before: ``bring_up_to_date`` is given what reads the child's pipe.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from itertools import islice

from ..protocol.errors import Malformed
from .errands import STDERR, STDOUT, Done, unpack_reports
from .held import Held
from .journal import SharedFile
from .permits import Permits
from .streams import HeadTail, Splitter

Printed = Callable[[Held, int, bytes], None]


class Given:
    """``printed(held, stream, data)`` is called with what a job has printed."""

    def __init__(self, nonce: bytes, printed: Printed) -> None:
        self.permits = Permits()
        self.shared = SharedFile()
        self.noise = HeadTail()
        """What was printed while no job ran."""
        self.mark = 0.0
        """``CLOCK_MONOTONIC`` when the job that began last did so, as far as it is known."""
        self._printed = printed
        self._jobs: deque[Held] = deque()
        self._granted = 0
        self._done = 0
        self._over = 0
        self._marked: deque[int] = deque()  # jobs whose markers have not come from both streams
        self._passed = 0  # how many came before these
        self._splitters = {
            stream: Splitter(nonce, self._taker(stream), lambda: None)
            for stream in (STDOUT, STDERR)
        }

    # -- giving and taking ------------------------------------------------------------------------

    def add(self, batch: Sequence[Held]) -> None:
        """The child may begin these, in order."""
        if self._granted == self._done:
            self.mark = time.monotonic()
        self._jobs.extend(batch)
        self._granted += len(batch)
        self.permits.grant(len(batch))

    def take_back(self) -> list[Held]:
        """Take back what has not begun, in order."""
        taken = [self._jobs.pop() for _ in range(self.permits.take_back())]
        self._granted -= len(taken)
        taken.reverse()
        return taken

    def unbegun(self) -> int:
        """How many have not begun."""
        return self.permits.left()

    @property
    def laden(self) -> bool:
        """Whether there is more than one that is not over, as far as it is known."""
        return len(self._jobs) > 1

    @property
    def last(self) -> Held:
        """The one that was given last."""
        return self._jobs[-1]

    def has(self, wanted: set[Held]) -> bool:
        """Whether one of these is here, and not over."""
        return not wanted.isdisjoint(self._jobs)

    def running(self) -> Held | None:
        """The job that runs now, or has just ended; exact once this is up to date."""
        begun = self._granted - self.permits.left()
        if begun <= self._done:
            return None
        place = begun - 1 - self._over
        return self._jobs[place] if place < len(self._jobs) else None

    def running_since(self) -> tuple[Held, float] | None:
        """The running job and its begin, where every report before it is here."""
        if self._granted == self._done or self._granted - self.permits.left() != self._done + 1:
            return None
        return self._jobs[self._done - self._over], self.mark

    # -- what the child tells ---------------------------------------------------------------------

    def note(self, reports: Sequence[Done]) -> None:
        """Reports came: of the next jobs, or again of some before.

        Raises:
            Malformed: of a job that cannot have ended.
        """
        given, now = islice(self._jobs, self._done - self._over, None), time.monotonic()
        for done in reports:
            if done.number <= self._done:
                continue
            held = next(given, None)
            if held is None or done.number != self._done + 1:
                raise Malformed(f"the report of job {done.number}, after that of job {self._done}")
            held.done = done
            self._done += 1
            self.mark = min(done.ended, now)
            if done.marked:
                self._marked.append(done.number)

    def bring_up_to_date(self, read: Callable[[], None]) -> None:
        """Note what the child has not sent yet; ``read`` reads what it has sent. In between it may
        send what it had not: so the one is looked up first, and noted last."""
        unsent = self.shared.unsent()
        read()
        if unsent is None:
            return
        if unsent.number:
            self._note_unsent(unsent.number, unsent.reports)
        if unsent.begun == self._done + 1 and self.mark <= unsent.began <= time.monotonic():
            self.mark = unsent.began

    def _note_unsent(self, count: int, reports: bytes) -> None:
        try:
            self.note(unpack_reports(count, reports))
        except Malformed:
            return  # it comes by the pipe, too, where that is told

    def take_over(self) -> list[Held]:
        """Those that are over, once, in order."""
        passed = min(splitter.passed for splitter in self._splitters.values()) - 1
        marked = self._marked
        while marked and self._passed < passed:
            marked.popleft()
            self._passed += 1
        limit = marked[0] - 1 if marked else self._done
        return self._take_until(limit)

    def _take_until(self, limit: int) -> list[Held]:
        count = max(0, limit - self._over)
        self._over += count
        return [self._jobs.popleft() for _ in range(count)]

    # -- what they print --------------------------------------------------------------------------

    def feed(self, stream: int, data: bytes) -> None:
        """Take what was read from a stream; this is up to date."""
        self._splitters[stream].feed(data)

    def end(self, stream: int) -> None:
        """The stream has ended."""
        self._splitters[stream].end()

    def _taker(self, stream: int) -> Callable[[int, bytes], None]:
        def take(number: int, data: bytes) -> None:
            held = self._whose(number)
            if held is None:
                self.noise.add(data)
            else:
                self._printed(held, stream, data)

        return take

    def _whose(self, number: int) -> Held | None:
        """The ``number``-th job that has printed something. If it is not known which one that is,
        it is the one that follows the last report: all others there have printed nothing."""
        if not number:
            return None
        place = number - 1 - self._passed
        job = next(islice(self._marked, place, None), self._done + 1)
        place = job - 1 - self._over
        return self._jobs[place] if 0 <= place < len(self._jobs) else None

    # -- the end ----------------------------------------------------------------------------------

    def close(self) -> None:
        """The child is gone."""
        self.permits.close()
        self.shared.close()

    def take_rest(self) -> tuple[list[Held], Held | None]:
        """What was reported, markers or not, and what was running. After ``take_back``."""
        reported = self._take_until(self._done)
        running = self._jobs.popleft() if self._jobs else None
        assert not self._jobs
        return reported, running
