"""What ``options`` takes."""

from __future__ import annotations

from pathlib import Path

import pytest
from ampacity.client.options import Options
from ampacity.protocol.errors import BadOption


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
    )
    assert options.with_({"timeout": None}).timeout is None


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
    ],
)
def test_what_does_not_fit(options, message):
    with pytest.raises(BadOption, match=message):
        Options().with_(options)
