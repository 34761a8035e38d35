"""Whether a chaos run's history keeps the promises: pure, after Jepsen's total-queue checker.

What was accepted must have ended, once, with the value that it must have; nothing else may be
there. Beyond that, each execution is known here: a result counts for its own attempt only, and
whatever ran more often than planned must have been in flight when a fault struck.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

import attrs

from .chaos_history import (
    Accepted,
    Cancelling,
    Delivered,
    Done,
    Ended,
    Event,
    Found,
    Invoked,
    Refused,
    Started,
    Struck,
)
from .chaos_plan import MAX_LOSSES, Task, right_value
from .chaos_strikes import Strikes

ENDINGS = ("succeeded", "failed", "timed out", "cancelled", "crashed")

LOST = "lost"
UNEXPECTED = "unexpected"
TWICE = "delivered twice"
STALE = "stale accepted"
BOUNDS = "out of bounds"
UNEXPLAINED = "run again without a fault"
WRONGS = (LOST, UNEXPECTED, TWICE, STALE, BOUNDS, UNEXPLAINED)


@attrs.frozen
class Wrong:
    """One broken promise."""

    kind: str
    job: int | None
    text: str

    def __str__(self) -> str:
        return f"{self.kind}: {'' if self.job is None else f'job {self.job} '}{self.text}"


@attrs.frozen(kw_only=True)
class Verdict:
    """The account of a run, and what is wrong with it."""

    planned: int
    submitted: int
    """Jobs that the coordinator knows in the end."""
    endings: dict[str, int]
    refusals: int
    """Submissions that were refused; they were made again."""
    executions: int
    again: int
    """Executions beyond those that the jobs need with no fault."""
    in_flight: int
    """Executions that faults have struck."""
    faults: dict[str, int]
    wrongs: list[Wrong]

    @property
    def proved(self) -> bool:
        return not self.wrongs and self.submitted == sum(self.endings.values())

    def count(self, kind: str) -> int:
        return sum(wrong.kind == kind for wrong in self.wrongs)


@attrs.define(eq=False)
class Story:
    """All that is known of one job of the plan."""

    task: Task
    invoked: list[Invoked] = attrs.field(factory=list)
    accepted: list[Accepted] = attrs.field(factory=list)
    refused: int = 0
    cancelling: bool = False
    delivered: list[Delivered] = attrs.field(factory=list)
    runs: dict[str, Started] = attrs.field(factory=dict)
    ends: dict[str, Ended] = attrs.field(factory=dict)
    found: list[Found] = attrs.field(factory=list)

    @property
    def outcome(self) -> Found | None:
        """Its end at the coordinator."""
        return next((found for found in self.found if found.ending in ENDINGS), None)

    @property
    def extra(self) -> int:
        """Executions beyond the plan."""
        return max(0, len(self.runs) - self.task.runs)

    def add(self, event: Event) -> None:
        match event:
            case Invoked():
                self.invoked.append(event)
            case Accepted():
                self.accepted.append(event)
            case Refused():
                self.refused += 1
            case Cancelling():
                self.cancelling = True
            case Delivered():
                self.delivered.append(event)
            case Started():
                self.runs[event.run] = event
            case Ended():
                self.ends[event.run] = event
            case Found():
                self.found.append(event)
            case _:
                pass


def check(plan: Sequence[Task], history: Iterable[Event]) -> Verdict:
    """The verdict on a whole history, in whatever order its events come."""
    stories = [Story(task) for task in plan]
    strangers: list[Wrong] = []
    struck: list[Struck] = []
    done: set[str] = set()
    for event in history:
        if isinstance(event, Struck):
            struck.append(event)
        elif isinstance(event, Done):
            done.add(event.client)
        elif event.job is not None and 0 <= event.job < len(stories):
            stories[event.job].add(event)
        else:
            strangers.append(Wrong(UNEXPECTED, None, f"nobody submitted this: {event}"))
    strikes = Strikes(struck)
    wrongs = [*strangers]
    for story in stories:
        wrongs.extend(_wrongs(story, done, strikes))
    return _verdict(stories, strikes, wrongs)


def _verdict(stories: Sequence[Story], strikes: Strikes, wrongs: list[Wrong]) -> Verdict:
    endings = Counter(found.ending for story in stories for found in story.found)
    return Verdict(
        planned=len(stories),
        submitted=endings.total(),
        endings={ending: endings[ending] for ending in ENDINGS},
        refusals=sum(story.refused for story in stories),
        executions=sum(len(story.runs) for story in stories),
        again=sum(story.extra for story in stories),
        in_flight=sum(
            strikes.hit(run, story.ends.get(name))
            for story in stories
            for name, run in story.runs.items()
        ),
        faults=dict(sorted(Counter(one.fault for one in strikes.all).items())),
        wrongs=wrongs,
    )


def _wrongs(story: Story, done: set[str], strikes: Strikes) -> Iterator[Wrong]:
    job = story.task.job
    for kind, texts in (
        (LOST, _lost(story, done)),
        (UNEXPECTED, _unexpected(story, strikes)),
        (TWICE, _twice(story)),
        (STALE, _stale(story)),
        (BOUNDS, _out_of_bounds(story)),
        (UNEXPLAINED, _unexplained(story, strikes)),
    ):
        for text in texts:
            yield Wrong(kind, job, text)


def _lost(story: Story, done: set[str]) -> Iterator[str]:
    if story.accepted and story.outcome is None:
        first = story.accepted[0]
        state = ", ".join(found.ending for found in story.found) or "unknown"
        yield f"was accepted as {first.id} at {first.at:.3f}, and is {state} in the end"
    if story.delivered:
        return
    if story.accepted:
        yield f"was accepted by {story.accepted[0].client}, and its end was never delivered"
    elif len(story.invoked) > story.refused and any(one.client in done for one in story.invoked):
        yield "was submitted, and no answer ever came"


def _unexpected(story: Story, strikes: Strikes) -> Iterator[str]:
    if not story.invoked and (story.found or story.delivered or story.runs):
        yield "was never submitted"
    elif not story.accepted and story.refused >= len(story.invoked) and story.found:
        yield "was refused, and is there"
    elif story.runs and not story.found:
        yield "ran, and the coordinator does not know it"
    ids = {one.id for one in story.accepted} | {one.id for one in story.found}
    ids.update(one.id for one in story.delivered if one.id is not None)
    if len(ids) > 1:
        yield f"has several ids: {sorted(ids)}"
    ends: list[Found | Delivered] = [*story.delivered]
    ends.extend(found for found in story.found if found.ending in ENDINGS)
    if len({(end.ending, end.run, end.value) for end in ends}) > 1:
        yield f"has several outcomes: {ends}"
    for end in ends[-1:]:
        yield from _wrong_end(story, end, strikes)


def _wrong_end(story: Story, end: Found | Delivered, strikes: Strikes) -> Iterator[str]:
    """What is wrong with an outcome by itself."""
    task = story.task
    if end.ending == "crashed" and task.kind != "crashes":
        struck = [run for name, run in story.runs.items() if strikes.hit(run, story.ends.get(name))]
        if len(struck) < MAX_LOSSES:
            yield f"crashed, and faults struck {len(struck)} of its executions only"
    elif end.ending not in task.endings:
        yield f"is of the kind {task.kind} and must not end as: {end.ending}"
    if end.ending == "cancelled" and not story.cancelling:
        yield "was cancelled, and nobody asked for it"
    if end.ending == "succeeded" and end.value != right_value(task):
        yield f"has the wrong value {end.value}"
    if end.ending in ("succeeded", "failed") and end.run not in story.runs:
        yield f"has the outcome of an execution {end.run} that was none of its own"


def _twice(story: Story) -> Iterator[str]:
    lives = Counter(one.client for one in story.delivered)
    for client, times in lives.items():
        if times > 1:
            yield f"was delivered {times} times to the program {client}"


def _stale(story: Story) -> Iterator[str]:
    end = story.outcome
    run = None if end is None or end.run is None else story.runs.get(end.run)
    if end is None or run is None:
        return
    number = int(run.attempt.partition(".")[2])
    if number != end.attempts:
        yield f"has the result of attempt {number}, and attempt {end.attempts} was its current one"


def _out_of_bounds(story: Story) -> Iterator[str]:
    for attempt, times in Counter(run.attempt for run in story.runs.values()).items():
        if times > 1:
            yield f"ran {times} times as attempt {attempt}"
    end = story.outcome
    if end is None:
        return
    if len(story.runs) > end.attempts:
        yield f"ran {len(story.runs)} times in {end.attempts} attempts"
    if end.losses > MAX_LOSSES or (end.ending == "crashed" and end.losses != MAX_LOSSES):
        yield f"{end.ending} with {end.losses} losses"


def _unexplained(story: Story, strikes: Strikes) -> Iterator[str]:
    end = story.outcome
    struck = sum(
        strikes.hit(run, story.ends.get(name))
        for name, run in story.runs.items()
        if end is None or name != end.run
    )
    if story.extra > struck:
        yield f"ran {story.extra} times more than planned, and faults struck {struck} of them"
