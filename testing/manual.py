"""A pool whose jobs wait until the test says what becomes of them."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred

from ..protocol.errors import AmpacityError
from ..protocol.ids import JobId
from .doings import Crashes, Doing, Raises, Returns, Runs
from .ground import Ground
from .kitpools import KitPool
from .runs import Course, Run
from .stage import Stage

_SLOTS = 1000


class _Waiting(Stage):
    """Nothing ends by itself."""

    def begins(self, run: Run) -> Course:
        return Course(None)


class _ManualGround(Ground):
    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.stage = self.play = _Waiting(self.scratch, self.lending)


class Execution:
    """One execution of a job that waits for the test; ``ManualPool`` gives them."""

    def __init__(self, ground: Ground, run: Run) -> None:
        self._ground = ground
        self._run = run
        self.id: int = run.job
        """The job's."""
        self.name: str = run.spec.name or run.spec.target
        """The job's name: ``module:function``, unless an option says otherwise."""
        self.attempt: int = run.attempt.number
        """Which attempt of the job this is, from 1."""

    def __repr__(self) -> str:
        return f"<Execution {self.attempt} of job {self.id} ({self.name})>"

    @property
    def args(self) -> tuple[Any, ...]:
        """The arguments, as the function is given them."""
        return self._ground.stage.arguments(self._run)[0]

    @property
    def kwargs(self) -> dict[str, Any]:
        """The arguments that have names."""
        return self._ground.stage.arguments(self._run)[1]

    @property
    def over(self) -> bool:
        """Whether it has ended, or is being ended."""
        return self._run.over or self._run.why is not None

    # -- its end ----------------------------------------------------------------------------------

    def run(self) -> None:
        """Call the function, in this process: the job succeeds or fails with that."""
        self._end(Runs())

    def succeed(self, value: Any = None) -> None:
        """It gives this value."""
        self._end(Returns(value))

    def fail(self, error: BaseException) -> None:
        """It raises this exception. The job fails with it, unless its ``retries`` are left."""
        self._end(Raises(error))

    def die(self, signal: str | None = "SIGKILL", **how: Any) -> None:
        """Its process dies, see ``Crashes``. That is one loss: the job runs again, or has crashed
        if it has lost more than its ``max_losses``."""
        self._end(Crashes(signal, **how))

    def crash(self, signal: str | None = "SIGKILL", **how: Any) -> None:
        """Its process dies, and so do those of the attempts after it, until the job has crashed."""
        self.die(signal, **how)
        slots = self._ground.slots
        again = [run for run in slots.running if run.job == self.id] if slots is not None else []
        for run in again:
            Execution(self._ground, run).crash(signal, **how)

    def time_out(self) -> None:
        """Its time is over. The job has timed out, unless its ``retries`` are left."""
        self._slots().time_out(self._run)
        self._ground.timeline.settle()

    def cancel(self) -> None:
        """Somebody else cancels the job, by the command line for example."""
        self._slots()
        cancelling: Deferred[Any] = self._ground.coordinator.cancel([JobId(self.id)])
        cancelling.addErrback(lambda _: None)
        self._ground.timeline.settle()

    def _end(self, doing: Doing) -> None:
        self._slots().finish(self._run, self._ground.stage.end_of(self._run, doing))
        self._ground.timeline.settle()

    def _slots(self) -> Any:
        if self.over or self._ground.slots is None:
            raise NothingWaits(f"{self!r} is over")
        return self._ground.slots


class NothingWaits(AmpacityError, LookupError):
    """No execution waits: nothing was submitted, or all has ended."""


class ManualPool(KitPool):
    """The interface of ``Pool``; its jobs run when the test says so, and end as it says.

    ``waiting`` are the executions that could begin (``slots`` of them; 1000 without that). Time
    stands still but for ``advance``: deadlines, time-outs and the pauses before retries go by it.
    """

    _ground_class = _ManualGround
    _slots_by_default = _SLOTS

    @property
    def waiting(self) -> list[Execution]:
        """The executions that wait, the oldest first."""
        ground = self._ground
        runs = [] if ground.slots is None else ground.slots.running
        return [Execution(ground, run) for run in runs if run.why is None]

    def next(self) -> Execution:
        """The execution that has waited longest.

        Raises:
            NothingWaits: there is none.
        """
        waiting = self.waiting
        if not waiting:
            raise NothingWaits
        return waiting[0]

    def run_next(self) -> None:
        """Call the function of the execution that has waited longest."""
        self.next().run()

    def run_all(self) -> int:
        """Call functions until nothing waits; how many. Time does not pass: what is tried again
        later is left."""
        count = 0
        while waiting := self.waiting:
            waiting[0].run()
            count += 1
        return count
