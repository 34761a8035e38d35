"""What answers commands: AMP's responders, with one Deferred a question at most.

The same on the wire as ``amp.CommandLocator``; of a frame of 64 jobs, its way from a box to the
responder and back is a third of the cost.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, cast

from twisted.internet.defer import Deferred, fail
from twisted.protocols import amp
from twisted.python.failure import Failure

from .forms import Forms, forms_of

Answer = dict[str, Any]
_Coroutine = Coroutine[Deferred[Any], Any, Answer]
Responder = Callable[..., Answer | Deferred[Answer] | _Coroutine]


class Responders(amp.CommandLocator):
    """Responders are methods with the decorator of their command, as for ``amp.CommandLocator``.

    They return the answer, or a Deferred of it, or are coroutines.
    """

    def _wrapWithSerialization(
        self, responder: Responder, command: type[amp.Command]
    ) -> Callable[[amp.AmpBox], bytes | Deferred[bytes]]:
        return partial(self._respond, responder, command, forms_of(command))

    def _respond(
        self, responder: Responder, command: type[amp.Command], forms: Forms, box: amp.AmpBox
    ) -> bytes | Deferred[bytes]:
        """The answer as the bytes of its values; at once, where it is there.

        Raises what the arguments' parsers raise.
        """
        arguments = forms.arguments.read(box)
        try:
            answer = responder(**arguments)
            if type(answer) is dict:
                return forms.answer.write(answer)
        except Exception:  # noqa: BLE001 -- every failure is answered
            answer = fail(Failure())
        if isinstance(answer, Deferred):
            waiting = answer
        else:
            waiting = Deferred.fromCoroutine(cast("_Coroutine", answer))
        written: Deferred[bytes] = waiting.addCallback(forms.answer.write)
        return written.addErrback(_declared, command)


def _declared(failure: Failure, command: Any) -> Failure:
    """A failure as the command declares it; any other one as it is."""
    for kind, code in command.allErrors.items():
        if failure.check(kind):
            fatal = kind in command.fatalErrors
            error = amp.RemoteAmpError(code, str(failure.value), fatal, local=failure)
            return Failure(error)
    return failure
