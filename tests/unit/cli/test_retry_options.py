"""The options that say when a job runs again, and the spec that they make."""

from __future__ import annotations

from typing import Any

import click
import pytest
from ampacity.cli.arguments import Words
from ampacity.cli.specs import Wanted
from ampacity.protocol.errors import BadOption

PLAIN: dict[str, Any] = {
    "kw": (),
    "mode": "auto",
    "job_name": None,
    "timeout": None,
    "deadline": None,
    "cwd": None,
    "env": (),
    "ship": (),
    "retries": 0,
    "retry_on": (),
    "backoff": None,
    "max_losses": None,
}


def fields(**options: Any) -> tuple[Any, ...]:
    wanted = Wanted(Words([], False, ["m:f"], None), {**PLAIN, **options})
    spec = wanted.spec(None)  # type: ignore[arg-type]  # nothing is shipped
    return (spec.retries, spec.retry_on, spec.backoff, spec.max_losses)


def test_without_any_nothing_runs_again() -> None:
    assert fields() == (0, None, 1.0, None)


def test_all_of_them() -> None:
    given = {"retries": 3, "retry_on": ("ValueError", "a.b.Error"), "backoff": 0.5}
    expected = (3, ("builtins.ValueError", "a.b.Error"), 0.5, 0)
    assert fields(**given, max_losses=0) == expected


@pytest.mark.parametrize("options", [{"retry_on": ("ValueError",)}, {"backoff": 2.0}])
def test_how_to_retry_needs_retries(options: dict[str, Any]) -> None:
    with pytest.raises(click.UsageError, match="give --retries"):
        fields(**options)


def test_an_error_that_is_none() -> None:
    with pytest.raises(BadOption, match="retry_on names an exception"):
        fields(retries=1, retry_on=("Nonsense",))
