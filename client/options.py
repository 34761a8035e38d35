"""The options of jobs: what ``pool.options(...)`` takes, checked where it is said."""

from __future__ import annotations

import builtins
import difflib
import math
import os
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal

import attrs

from ..protocol import errors
from ..protocol.errors import BadOption
from ..protocol.limits import NAME_LENGTH


def _seconds(name: str, value: Any) -> float | None:
    if value is None:
        return None
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not math.isfinite(value) or value <= 0:
        raise BadOption(f"{name} is a number of seconds above 0, or None, not {value!r:.80}")
    return float(value)


def _times(name: str, value: Any) -> int:
    if type(value) is not int or value < 0:
        raise BadOption(f"{name} is a number of times, 0 or more, not {value!r:.80}")
    return value


def _times_or_default(name: str, value: Any) -> int | None:
    return None if value is None else _times(name, value)


def _pause(name: str, value: Any) -> float:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not math.isfinite(value) or value < 0:
        raise BadOption(f"{name} is a number of seconds, 0 or more, not {value!r:.80}")
    return float(value)


def _error_names(name: str, value: Any) -> tuple[str, ...] | None:
    """Each as ``module.Class``, where the class was made."""
    if value is None:
        return None
    several = isinstance(value, Iterable) and not isinstance(value, str | type)
    names = [_error_name(name, one) for one in (value if several else (value,))]
    if not names:
        raise BadOption(f"{name} is empty: no error would be worth another attempt")
    return tuple(dict.fromkeys(names))


def _error_name(name: str, value: Any) -> str:
    if isinstance(value, type) and issubclass(value, Exception):
        return f"{value.__module__}.{value.__qualname__}"
    if not isinstance(value, str):
        raise BadOption(
            f"{name} takes exception classes, or their names as module.Class, not {value!r:.80}"
        )
    home, _, own = value.rpartition(".")
    if home in ("", "ampacity"):
        # as people write what they need not import, or have imported from there
        known = getattr(errors if home else builtins, own, None)
        if not (isinstance(known, type) and issubclass(known, Exception)):
            raise BadOption(f"{name} names an exception as module.Class, not {value!r:.80}")
        return _error_name(name, known)
    if not all(part.isidentifier() for part in value.replace(".<locals>.", ".").split(".")):
        raise BadOption(f"{name} names an exception as module.Class, not {value!r:.80}")
    return value


def _short_text(name: str, value: Any) -> str | None:
    if value is not None and (not isinstance(value, str) or not 0 < len(value) <= NAME_LENGTH):
        raise BadOption(f"{name} is a text of 1 to {NAME_LENGTH} characters, not {value!r:.80}")
    return value


def _folder(name: str, value: Any) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str | os.PathLike) or not (text := os.fsdecode(value)):
        raise BadOption(f"{name} is the path of a folder, not {value!r:.80}")
    return text


def _variables(name: str, value: Any) -> tuple[tuple[str, str], ...]:
    if not isinstance(value, Mapping):
        raise BadOption(f"{name} maps names to texts, and is not {value!r:.80}")
    for key, text in value.items():
        if not _fits_environment(key, text):
            raise BadOption(f"{name} maps names to texts; {key!r:.80} = {text!r:.80} does not fit")
    return tuple(sorted(value.items()))


def _fits_environment(key: Any, text: Any) -> bool:
    if not isinstance(key, str) or not isinstance(text, str):
        return False
    return bool(key) and "=" not in key and "\0" not in key + text


def _keep_or_cancel(name: str, value: Any) -> str:
    if value not in ("keep", "cancel"):
        raise BadOption(f'{name} is "keep" or "cancel", not {value!r:.80}')
    return str(value)


def _pickle_or_data(name: str, value: Any) -> str:
    if value not in ("pickle", "data"):
        raise BadOption(f'{name} is "pickle" or "data", not {value!r:.80}')
    return str(value)


_CHECKS: dict[str, Callable[[str, Any], Any]] = {
    "timeout": _seconds,
    "deadline": _seconds,
    "name": _short_text,
    "key": _short_text,
    "cwd": _folder,
    "env": _variables,
    "orphans": _keep_or_cancel,
    "retries": _times,
    "retry_on": _error_names,
    "backoff": _pause,
    "max_losses": _times_or_default,
    "results": _pickle_or_data,
}


@attrs.frozen(kw_only=True)
class Options:
    """What holds for the jobs of one view of a pool."""

    timeout: float | None = None
    deadline: float | None = None
    name: str | None = None
    key: str | None = None
    cwd: str | None = None
    env: tuple[tuple[str, str], ...] = ()
    orphans: Literal["keep", "cancel"] = "keep"
    retries: int = 0
    retry_on: tuple[str, ...] | None = None
    backoff: float = 1.0
    max_losses: int | None = None
    results: Literal["pickle", "data"] = "pickle"

    @property
    def plain(self) -> bool:
        """Whether nothing that arrives may be unpickled."""
        return self.results == "data"

    def with_(self, changes: Mapping[str, Any]) -> Options:
        """These options with some changed.

        Raises:
            BadOption: there is no such option, or the value does not fit.
        """
        checked = {name: _check(name, value) for name, value in changes.items()}
        return attrs.evolve(self, **checked)


def _check(name: str, value: Any) -> Any:
    check = _CHECKS.get(name)
    if check is None:
        raise BadOption(_unknown(name))
    return check(name, value)


def _unknown(name: str) -> str:
    close = difflib.get_close_matches(name, _CHECKS, n=1)
    hint = f"did you mean {close[0]!r}?" if close else f"there are {', '.join(_CHECKS)}"
    return f"there is no option {name!r}; {hint}"
