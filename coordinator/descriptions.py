"""Jobs and groups as they are shown: plain data."""

from __future__ import annotations

from .details import Details
from .records import GroupRecord
from .transitions import STATE_NAMES


def redacted(summary: Details) -> Details:
    """A job as it is shown to who may see states, and nothing of what is worked on."""
    words = summary["kind"] == "command"  # the target holds the job's own arguments
    return summary | {"target": "a command" if words else summary["target"], "key": None}


def describe(group: GroupRecord) -> Details:
    """A group, and how many of its places are in which state."""
    return {
        "id": group.id,
        "client": group.client.id,
        "name": group.name,
        "size": group.size,
        "closed": group.size is not None,
        "states": {name: n for name, n in zip(STATE_NAMES, group.counts, strict=True) if n},
        "submitted": group.submitted,
        "first": group.first,
        "last": group.last,
    }
