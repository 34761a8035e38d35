"""Questions to a coordinator; ``docs/reference/protocol.md`` has them all, with their answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .session import Session

PAGE = 500
"""Jobs in one answer that tells of each."""

IDS = 10_000
"""Jobs in one answer that only names them."""


async def ask(session: Session, question: str, **details: Any) -> Any:
    """The answer to a question, once a coordinator can be reached."""
    return await session.requests.call(lambda coordinator: coordinator.query(question, details))
