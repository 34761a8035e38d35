"""Which answers can wait a moment for something to go with: nobody waits for them."""

from __future__ import annotations

from typing import Final

from . import commands

LATE_SECONDS: Final = 0.005
"""For how long one waits at most, that an order or a report has arrived."""

LATE: Final[dict[bytes, float]] = {
    command.commandName: LATE_SECONDS
    for command in (commands.Assign, commands.Begun, commands.Returned, commands.Finished)
}
"""Seconds that a good answer waits, by command; a refusal never does."""
