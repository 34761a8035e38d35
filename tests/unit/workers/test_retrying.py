"""Which errors are worth another attempt."""

from __future__ import annotations

import pytest
from ampacity.workers.retrying import worth_retrying


class Flaky(ConnectionError):
    """An error of an application."""


HERE = Flaky.__module__


@pytest.mark.parametrize(
    ("error", "retry_on", "worth"),
    [
        (ValueError, None, True),
        (Flaky, None, True),
        (SystemExit, None, False),
        (KeyboardInterrupt, None, False),
        (ValueError, (), False),
        (ValueError, ("ValueError",), True),
        (ValueError, ("builtins.ValueError",), True),
        (UnicodeDecodeError, ("ValueError",), True),
        (ValueError, ("UnicodeDecodeError",), False),
        (Flaky, (f"{HERE}.Flaky",), True),
        (Flaky, ("Flaky",), False),
        (Flaky, ("KeyError", "OSError"), True),
        (SystemExit, ("SystemExit",), True),
        (KeyboardInterrupt, ("BaseException",), True),
    ],
)
def test_an_error_matches_by_the_names_of_its_classes(
    error: type[BaseException], retry_on: tuple[str, ...] | None, worth: bool
) -> None:
    assert worth_retrying(error, retry_on) is worth
