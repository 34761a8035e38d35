"""Questions of one peer that wait for their answer here, and what they may take until then."""

from __future__ import annotations

from . import commands
from .limits import ANSWER_BYTES, CHUNK_SIZE, LOG_HEAD, Caps

_ANSWERS = {
    # these have short answers, all at once when they are stored: 16 may be under way, not thousands
    commands.Submit.commandName: ANSWER_BYTES,
    commands.Finished.commandName: ANSWER_BYTES,
    commands.Query.commandName: ANSWER_BYTES,
    commands.Attach.commandName: LOG_HEAD,
    commands.GetChunk.commandName: CHUNK_SIZE,
}
"""What a question counts for besides its bytes: what its answer may take, as a rule."""

_UNPACKED = 8
"""A list of ids takes so many times the bytes in memory that it has in a box."""

_LISTS = frozenset(
    command.commandName for command in (commands.Cancel, commands.Retry, commands.Forget)
)


def cost(name: bytes, size: int) -> int:
    """What a question counts for whose box has ``size`` bytes.

    A ``Watch`` counts nothing: it may wait for the peer's own acknowledgements, which could not be
    read then; the core bounds it.
    """
    if name == commands.Watch.commandName:
        return 0
    return size * _UNPACKED if name in _LISTS else size + _ANSWERS.get(name, 0)


class Outstanding:
    """Counts them; at a bound the peer is *slowed*, until half of them are answered."""

    __slots__ = ("_bytes", "_number", "caps", "slowed")

    def __init__(self, caps: Caps) -> None:
        self.caps = caps
        self._number = self._bytes = 0
        self.slowed = False

    def begin(self, size: int) -> bool:
        """One more; whether the peer is slowed because of it."""
        self._number += 1
        self._bytes += size
        if self.slowed or (self._number <= self.caps.asks and self._bytes <= self.caps.ask_bytes):
            return False
        self.slowed = True
        return True

    def end(self, size: int) -> bool:
        """One less; whether the peer is slowed no more because of it."""
        self._number -= 1
        self._bytes -= size
        few = self._number <= self.caps.asks // 2 and self._bytes <= self.caps.ask_bytes // 2
        if not (self.slowed and few):
            return False
        self.slowed = False
        return True
