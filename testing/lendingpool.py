"""A pool whose jobs may be given the very objects, instead of copies of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self, TypeVar

from ..client.group import IN_FLIGHT, Errors, Group
from ..client.options import Options
from ..client.pool import Pool
from ..client.session import Session
from .programs import KitEngine

T = TypeVar("T")


class LendingPool(Pool):
    """It lends what it is given, where its ground has a ``Lending``."""

    @classmethod
    def on(cls, engine: KitEngine) -> Self:
        """A pool over an engine of the kit."""
        pool = cls.__new__(cls)
        pool._begin(engine, Options())
        return pool

    @property
    def _kit(self) -> KitEngine:
        assert isinstance(self._engine, KitEngine)
        return self._engine

    def _pack(
        self,
        session: Session,
        function: Callable[..., T],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Any:
        lending = self._kit.ground.lending
        if lending is not None:
            function = lending.lend(function)
            args = tuple(map(lending.lend, args))
            kwargs = {name: lending.lend(value) for name, value in kwargs.items()}
        return super()._pack(session, function, args, kwargs)

    def map(
        self,
        function: Callable[..., T],
        /,
        *iterables: Any,
        errors: Errors = "raise",
        in_flight: int = IN_FLIGHT,
    ) -> Group[T]:
        lending = self._kit.ground.lending
        if lending is not None:
            function = lending.lend(function)
            iterables = tuple(map(lending.lend_each, iterables))
        return super().map(function, *iterables, errors=errors, in_flight=in_flight)
