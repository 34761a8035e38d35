"""A job's record as a store keeps it, and as its life is told."""

from __future__ import annotations

from functools import lru_cache

from ..protocol.jobs import unpack_spec
from .kept import KeptJob, StoryEvent
from .records import JobRecord
from .transitions import STATE_NAMES

spec_of = lru_cache(maxsize=1)(unpack_spec)
"""The spec of a job as a store keeps it: those of one page have the same, more often than not, and
to unpack it is most of what a job's summary takes."""


def kept_of(job: JobRecord) -> KeptJob:
    """A record as a store keeps it."""
    deadline = job.spec.spec.deadline
    return KeptJob(
        job.id,
        job.client.id,
        job.owner,
        job.spec.packed,
        job.payload,
        job.key,
        None if job.group is None else job.group.id,
        job.place,
        job.submitted,
        job.state,
        job.attempt,
        None if job.worker is None else job.worker.name,
        job.losses,
        job.failures,
        job.why,
        None if deadline is None else job.submitted + deadline,
        job.resume,
        job.began,
        job.ended,
        job.seconds,
        job.taken,
        job.blobs,
        job.kept,
        job.retried,
        job.retry_of,
        job.story,
    )


def story_of(job: KeptJob) -> list[StoryEvent]:
    """All that is known of a job's life, in its order."""
    story: list[StoryEvent] = [(job.submitted, "submitted", ""), *job.story]
    if job.began is not None:
        story.append((job.began, "began", job.worker or ""))
    if job.ended is not None:
        story.append((job.ended, STATE_NAMES[job.state], ""))
    return sorted(story, key=lambda event: event[0])


def tell_story(job: JobRecord) -> str:
    """A job's story on one line, for an internal error."""
    lines = [
        f"{time:.3f} {what} {detail}".rstrip() for time, what, detail in story_of(kept_of(job))
    ]
    attempt = job.attempt
    return (
        f"job {job.id}, {STATE_NAMES[job.state]}, attempt {attempt and tuple(attempt)}, "
        f"{job.losses} losses, {job.failures} failures: " + "; ".join(lines)
    )
