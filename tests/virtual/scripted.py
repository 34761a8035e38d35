"""Scripts as the play of virtual slots, with a history that is told everything."""

from __future__ import annotations

from collections.abc import Sequence

from ampacity.protocol.outcomes import Ending, ErrorText, Evidence, Outcome, pack_outcome
from ampacity.testing.runs import Course, End, Run

from .history import Execution, History
from .work import Doing, Script, Way


class Scripted:
    """``testing.runs.Play``: a job's payload is the number of its script."""

    def __init__(self, scripts: Sequence[Script], history: History) -> None:
        self._scripts = scripts
        self._history = history

    def held(self, run: Run, twice: bool) -> None:
        self._history.held(run.worker, run.job, run.attempt, twice)

    def begins(self, run: Run) -> Course:
        payload = run.assignment.payload
        assert isinstance(payload, bytes)
        script = self._scripts[int(payload)]
        execution = self._history.began(script, run.job, run.attempt, run.worker)
        doing = script.doing(execution.number)
        run.data = (execution, doing)
        return Course(None if doing.way is Way.HANG else doing.seconds, doing.resists)

    def ends(self, run: Run) -> End:
        doing: Doing = run.data[1]
        error = evidence = None
        ending = Ending.SUCCEEDED
        if doing.way is Way.DIE:
            ending, evidence = Ending.LOST, Evidence(worker=run.worker, signal="SIGKILL")
        elif doing.way is Way.FAIL:
            ending, error = Ending.FAILED, ErrorText("builtins.ValueError", "as it should", "")
        outcome = Outcome(error=error, evidence=evidence, tail=self.tail(run))
        return End(ending, pack_outcome(outcome))

    def tail(self, run: Run) -> bytes:
        execution: Execution | None = run.data[0] if run.data else None
        return execution.mark if execution is not None else b""

    def ended(self, run: Run, how: str) -> None:
        execution: Execution = run.data[0]
        self._history.ended(execution, how)
