"""Whether an error is worth another attempt of its job, as the job's spec says."""

from __future__ import annotations

from collections.abc import Collection


def worth_retrying(error: type[BaseException], retry_on: Collection[str] | None) -> bool:
    """Whether one of the names is that of the error's class or of one of its bases.

    A class is named ``module.Class``, as a traceback names it; one of Python's own by ``Class``,
    too. Without names every ``Exception`` counts, so that ``SystemExit`` and
    ``KeyboardInterrupt`` do not.
    """
    if retry_on is None:
        return issubclass(error, Exception)
    return any(not _names(kind).isdisjoint(retry_on) for kind in error.__mro__)


def _names(kind: type) -> set[str]:
    whole = f"{kind.__module__}.{kind.__qualname__}"
    return {whole, kind.__qualname__} if kind.__module__ == "builtins" else {whole}
