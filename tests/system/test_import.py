"""Importing ampacity installs no reactor, and gives every name that it promises."""

from __future__ import annotations

import json
import subprocess
import sys

import ampacity
import pytest

LOOK = """
import json, sys
import ampacity
{then}
print(json.dumps(sorted(name for name in sys.modules if name in (
    "twisted.internet.reactor", "ampoule", "ampoule.main", "uvloop"))))
"""


def modules_after(then: str) -> list[str]:
    """Of the modules that choose a reactor, those that are loaded in a fresh process."""
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", LOOK.format(then=then)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    return list(json.loads(run.stdout))


def test_importing_ampacity_installs_no_reactor() -> None:
    assert modules_after("") == []


def test_no_public_name_installs_a_reactor() -> None:
    assert modules_after("[getattr(ampacity, name) for name in ampacity.__all__]") == []


def test_neither_does_the_blocking_face() -> None:
    assert modules_after("import ampacity.blocking") == []


@pytest.mark.parametrize("name", ampacity.__all__)
def test_every_public_name_is_there(name: str) -> None:
    thing = getattr(ampacity, name)
    assert thing.__name__ == name
    assert name in dir(ampacity)


def test_a_name_that_is_not_public_is_missing() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        getattr(ampacity, "Nothing")  # noqa: B009 -- mypy knows that it is not there
