"""The jobs that an event names: looked at slice by slice, wherever they are."""

from __future__ import annotations

from collections.abc import Callable

from ..protocol.errors import Disconnected, Refused
from ..protocol.ids import ClientId, JobId
from .effects import Answer, Refuse
from .events import CancelAsked, ForgetAsked, RetryAsked, WatchAsked
from .kept import ByIds
from .records import JobRecord, SessionRecord
from .state import State, Task, sliced

Asked = CancelAsked | RetryAsked | WatchAsked | ForgetAsked

Named = list[tuple[JobId, JobRecord | None]]
"""Some of the jobs; None: there is none of this id, or it is none of those that may be named."""


def look_at(state: State, event: Asked, look: Callable[[Named], None], answer: object) -> None:
    """Have a look at the jobs that an event names; then it gets its answer."""
    state.run(looking(state, event, look, answer))


def looking(
    state: State,
    event: Asked,
    look: Callable[[Named], None],
    answer: object,
    room: Callable[[], SessionRecord | None] = lambda: None,
) -> Task:
    """The same, as part of a task. ``room`` names the session that has to take something before
    this goes on, or raises what the question is refused with."""
    for ids in sliced(event.jobs):
        try:
            while (session := room()) is not None:
                yield session
        except (Refused, Disconnected) as refusal:
            state.tells.append(Refuse(event.ask, refusal))
            return
        if (cold := state.cold(ids)) and (yield ByIds(cold)) is None:
            state.unreadable(event.ask)
            return
        look([(number, _job(state, number, event.client)) for number in ids])
        if len(ids) < len(event.jobs):
            yield None
    state.tells.append(Answer(event.ask, answer))


def _job(state: State, number: JobId, client: ClientId | None) -> JobRecord | None:
    job = state.jobs.get(number)
    return job if job is None or client is None or job.client.id == client else None
