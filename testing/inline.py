"""A pool that runs each job when it is submitted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .doings import Doing
from .ground import LONGEST, Ground
from .kitpools import KitPool
from .runs import Run
from .stage import Answer


class NeverEnds(AssertionError):
    """A job that hangs, without a time-out or a deadline, in a test that would wait for it."""


class _InlineGround(Ground):
    """After each question it lets time pass until all jobs have ended."""

    def follow(self) -> None:
        timeline = self.timeline
        timeline.settle()
        until = timeline.now + LONGEST
        while self.unfinished:
            due = timeline.next_due()
            if due is None or due > until or self._hangs():
                raise NeverEnds(f"{self._stuck()}, and nothing ends that: give it a time-out")
            timeline.run_until(due)

    def advance(self, seconds: float) -> None:
        """Let time pass; what was submitted meanwhile ends, too."""
        super().advance(seconds)
        self.follow()

    def _hangs(self) -> bool:
        """Whether all that is left runs for ever."""
        driver, slots = self.driver, self.slots
        if driver is None or slots is None:
            return True
        running = slots.running
        hang = [r for r in running if r.course and r.course.seconds is None and not _bounded(r)]
        return len(hang) == slots.info.slots or (len(hang) == self.unfinished and bool(hang))

    def _stuck(self) -> str:
        running = [] if self.slots is None else self.slots.running
        jobs = ", ".join(f"job {run.job} ({run.spec.name or run.spec.target})" for run in running)
        return f"{jobs or 'a job'} has not ended"


def _bounded(run: Run) -> bool:
    return run.why is not None or run.spec.timeout is not None or run.spec.deadline is not None


class InlinePool(KitPool):
    """The interface of ``Pool``; ``submit`` returns a job that has ended.

    Functions are called in this process, with arguments and results that were pickled on their
    way. Time is virtual: what a ``plan`` says to take a minute, and the pauses before retries,
    take none. A function that crashes its process would end the test: plan ``Crashes()`` for it.

    A job that is submitted by a callback of another one of the same pool ends when that callback
    has returned.
    """

    _ground_class = _InlineGround

    def plan(self, function: Callable[..., Any], *doings: Doing | Answer) -> None:
        """What the jobs of a function do from here on: the first execution of each the first of
        these, and so on, the last one again and again. A single function in their place is asked
        each time, with the job's arguments."""
        self._ground.stage.plan(function, doings)
