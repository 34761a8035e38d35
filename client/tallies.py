"""How much of a group has been accepted, and when to say that it is whole."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..protocol.ids import GroupId

if TYPE_CHECKING:
    from .requests import Requests


class GroupTally:
    """A group on its way in, under the session's own number."""

    __slots__ = ("count", "id", "number", "pending", "whole")

    def __init__(self, number: int) -> None:
        self.number = number
        self.id: GroupId | None = None
        self.count = 0
        self.pending = 0
        """Frames without an answer."""
        self.whole = False

    def accepted(self, group: GroupId | None, count: int, requests: Requests) -> None:
        """A frame was answered."""
        self.id = group if self.id is None else self.id
        self.count += count
        self.pending -= 1
        self._close_if_whole(requests)

    def close(self, requests: Requests) -> None:
        """No more jobs will be submitted."""
        if not self.whole:
            self.whole = True
            self._close_if_whole(requests)

    def _close_if_whole(self, requests: Requests) -> None:
        if self.whole and self.pending == 0 and self.id is not None:
            requests.close_group(self.number, self.count)
