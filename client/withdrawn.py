"""Jobs that are cancelled before the coordinator has told their ids."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred, succeed

from ..protocol.ids import JobId
from ..protocol.outcomes import Ending
from .frames import Entry, Frame
from .requests import same

if TYPE_CHECKING:
    from .requests import Requests


class Withdrawn:
    """What is not sent is left out; what may have arrived is cancelled when its id is known."""

    __slots__ = ("_entries", "_requests")

    def __init__(self, requests: Requests) -> None:
        self._requests = requests
        self._entries: dict[Entry, Deferred[str] | None] = {}
        """With who waits for the state; none for those that were told already."""

    def __contains__(self, entry: Entry) -> bool:
        return entry in self._entries

    def cancel(self, entry: Entry) -> Deferred[str]:
        """End it; fires with the state that it had."""
        frame = entry.frame
        if frame is not None and frame.sequence is None:
            self._entries[entry] = None
            return _told(entry)
        if frame is not None and frame.refused:
            self._replace(entry, frame)
            return _told(entry)
        state = self._entries.get(entry)
        if state is None:
            state = self._entries[entry] = Deferred()
        return same(state)

    def _replace(self, entry: Entry, frame: Frame) -> None:
        """Leave a frame that has its number as it is: what it had to say may have arrived."""
        entry.frame = None
        frame.entries[frame.entries.index(entry)] = Gone(self._requests)
        if all(isinstance(one, Gone) for one in frame.entries):
            frame.submissions = []

    def was_spooled(self, entry: Entry) -> bool:
        """Whether it needs no frame any more, now that it could have one."""
        if entry not in self._entries:
            return False
        state = self._entries.pop(entry)
        _told(entry)
        if state is not None:
            state.callback("queued")
        return True

    def leave_out(self, frame: Frame) -> None:
        """A frame is about to be sent for the first time."""
        if self._entries and frame.sequence is None:
            for entry in frame.drop(self._entries):
                del self._entries[entry]

    def cancel_accepted(self, frame: Frame) -> None:
        """A frame was answered: its entries have ids."""
        if not self._entries:
            return
        for entry in frame.entries:
            state = self._entries.pop(entry, None)
            if state is not None and entry.id is not None:
                self._requests.cancel(entry.id).chainDeferred(state)

    def cancel_unknown(self, jobs: Sequence[JobId]) -> None:
        """These were accepted, and nobody here waits for them any more."""
        for job in jobs:
            self._requests.cancel(job)

    def give_up(self, frame: Frame) -> list[Entry]:
        """Nothing comes of a frame: who is to be told that, and has not been told otherwise."""
        waiting = []
        for entry in frame.entries:
            entry.frame = None
            told = entry in self._entries and frame.sequence is None
            state = self._entries.pop(entry, None)
            if state is not None:
                state.callback("unknown")
            if not told:
                waiting.append(entry)
        return waiting


class Gone:
    """Stands in a frame for a job that was cancelled. Implements ``frames.Entry``."""

    __slots__ = ("_requests", "frame", "id")

    def __init__(self, requests: Requests) -> None:
        self._requests = requests
        self.id: JobId | None = None
        self.frame: Frame | None = None

    def was_accepted(self, job: JobId) -> None:
        self._requests.cancel(job)

    def has_ended(self, ending: Ending, body: bytes) -> None:
        """Nobody asks."""

    def has_failed(self, error: Exception) -> None:
        """Nobody asks."""


def _told(entry: Entry) -> Deferred[str]:
    tell = entry.has_ended(Ending.CANCELLED, b"")
    if tell is not None:
        tell()
    return succeed("queued")
