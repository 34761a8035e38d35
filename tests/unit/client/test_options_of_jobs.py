"""What ``options`` takes."""

from __future__ import annotations

from pathlib import Path

import pytest
from ampacity.client.options import Options
from ampacity.protocol.errors import BadOption, JobTimedOut


def test_all_of_them():
    options = Options().with_(
        {
            "timeout": 60,
            "deadline": 90.5,
            "name": "frame 7",
            "key": "night",
            "cwd": Path("/srv"),
            "env": {"B": "2", "A": "1"},
            "orphans": "cancel",
            "retries": 3,
            "retry_on": (ValueError, OSError),
            "backoff": 2,
            "max_losses": 0,
        }
    )
    assert options == Options(
        timeout=60.0,
        deadline=90.5,
        name="frame 7",
        key="night",
        cwd="/srv",
        env=(("A", "1"), ("B", "2")),
        orphans="cancel",
        retries=3,
        retry_on=("builtins.ValueError", "builtins.OSError"),
        backoff=2.0,
        max_losses=0,
    )
    assert options.with_({"timeout": None}).timeout is None
    assert options.with_({"max_losses": None}).max_losses is None
    assert options.with_({"retry_on": None}).retry_on is None


class Flaky(Exception): ...


@pytest.mark.parametrize(
    ("given", "names"),
    [
        (ValueError, ("builtins.ValueError",)),
        ([Flaky], (f"{__name__}.Flaky",)),
        ("OSError", ("builtins.OSError",)),
        ("requests.exceptions.Timeout", ("requests.exceptions.Timeout",)),
        ("shop.<locals>.Error", ("shop.<locals>.Error",)),
        ({"KeyError": 1}, ("builtins.KeyError",)),
        ((KeyError, "KeyError", KeyError), ("builtins.KeyError",)),
        (JobTimedOut, ("ampacity.protocol.errors.JobTimedOut",)),
        ("ampacity.JobTimedOut", ("ampacity.protocol.errors.JobTimedOut",)),
    ],
)
def test_errors_go_by_the_names_of_their_classes(given, names):
    assert Options().with_({"retry_on": given}).retry_on == names


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"timeot": 3}, "no option 'timeot'; did you mean 'timeout'"),
        ({"colour": 3}, "there are timeout, deadline"),
        ({"timeout": "60"}, "timeout is a number of seconds"),
        ({"timeout": 0}, "above 0"),
        ({"timeout": float("nan")}, "above 0"),
        ({"deadline": True}, "deadline is a number"),
        ({"name": ""}, "name is a text"),
        ({"key": "x" * 201}, "1 to 200 characters"),
        ({"cwd": 3}, "path of a folder"),
        ({"env": [("A", "1")]}, "env maps names"),
        ({"env": {"A": 1}}, "does not fit"),
        ({"env": {"A=B": "1"}}, "does not fit"),
        ({"orphans": "eat"}, '"keep" or "cancel"'),
        ({"retries": -1}, "retries is a number of times"),
        ({"retries": 1.5}, "retries is a number of times"),
        ({"retries": True}, "retries is a number of times"),
        ({"retries": None}, "retries is a number of times"),
        ({"backoff": -1}, "backoff is a number of seconds, 0 or more"),
        ({"backoff": float("inf")}, "backoff is a number"),
        ({"max_losses": -1}, "max_losses is a number of times"),
        ({"retry_on": ()}, "no error would be worth"),
        ({"retry_on": int}, "retry_on takes exception classes"),
        ({"retry_on": (ValueError, 3)}, "retry_on takes exception classes"),
        ({"retry_on": KeyboardInterrupt}, "retry_on takes exception classes"),
        ({"retry_on": "NoSuchThing"}, "module.Class"),
        ({"retry_on": "shop."}, "module.Class"),
        ({"retry_on": "ampacity.Nothing"}, "module.Class"),
        ({"retrys": 3}, "did you mean 'retries'"),
    ],
)
def test_what_does_not_fit(options, message):
    with pytest.raises(BadOption, match=message):
        Options().with_(options)
