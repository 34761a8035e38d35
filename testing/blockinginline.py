"""The inline pool for programs without a reactor of their own."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, Self

from .. import blocking
from ..client.background import call, forbid_reactor_thread
from ..coordinator.settings import Settings
from .doings import Doing
from .inline import InlinePool
from .stage import Answer


class BlockingInlinePool(blocking.Pool):
    """The interface of ``ampacity.blocking.Pool``; ``submit`` has its job run in this process, in
    the thread of the reactor, as ``InlinePool`` does: see there for its options."""

    def __init__(
        self,
        *,
        python: str | os.PathLike[str] | None = None,
        setup: Callable[[], object] | str | None = None,
        slots: int | None = None,
        pickling: bool = True,
        settings: Settings | None = None,
    ) -> None:
        forbid_reactor_thread()
        options: dict[str, Any] = {"python": python, "setup": setup, "slots": slots}
        self._begin(InlinePool(**options, pickling=pickling, settings=settings))

    @classmethod
    def connect(cls, *_args: Any, **_kwargs: Any) -> blocking.Pool:
        """A pool like any other of the kit: no coordinator is asked for."""
        return cls()

    def plan(self, function: Callable[..., Any], *doings: Doing | Answer) -> None:
        """What the jobs of a function do from here on; see ``InlinePool.plan``."""
        call(lambda: self._inline.plan(function, *doings))

    def advance(self, seconds: float) -> None:
        """Let virtual time pass."""
        call(lambda: self._inline.advance(seconds))

    def refuse(self, error: Exception | None) -> None:
        """Have all that is submitted from here on refused with an error; None: no more."""
        call(lambda: self._inline.refuse(error))

    def __enter__(self) -> Self:
        super().__enter__()
        return self

    @property
    def _inline(self) -> InlinePool:
        assert isinstance(self._pool, InlinePool)
        return self._pool
