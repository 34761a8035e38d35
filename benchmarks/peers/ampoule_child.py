"""The child of raw ampoule, and its one command."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any, ClassVar

from ampoule.child import AMPChild
from twisted.protocols import amp


class Call(amp.Command):
    """A pickled function with its argument, answered by the pickled result."""

    arguments: ClassVar = [(b"call", amp.String())]
    response: ClassVar = [(b"result", amp.String())]


class Child(AMPChild):
    @Call.responder
    def call(self, call: bytes) -> dict[str, bytes]:
        function, argument = pickle.loads(call)
        return {"result": pickle.dumps(function(argument))}


def packed(function: Callable[[Any], Any], argument: Any) -> bytes:
    return pickle.dumps((function, argument))


def unpacked(answer: dict[str, bytes]) -> Any:
    return pickle.loads(answer["result"])
