"""What ``forget`` and ``down`` say."""

from __future__ import annotations

from collections import Counter

import pytest
from ampacity.cli.entry import main
from ampacity.cli.forgetting import _told
from ampacity.cli.services import ended_with


@pytest.mark.parametrize(
    ("counts", "all_of_them", "said", "code"),
    [
        ({"forgotten": 3}, False, "3 jobs were forgotten", 0),
        (
            {"forgotten": 1, "running": 2},
            False,
            "1 job was forgotten; 2 had not ended, and are left",
            0,
        ),
        ({"delayed": 1}, False, "0 jobs were forgotten; 1 had not ended, and is left", 4),
        ({"unknown": 1}, False, "0 jobs were forgotten; 1 unknown", 5),
        ({}, True, "0 jobs were forgotten", 0),
    ],
)
def test_what_became_of_them(
    counts: dict[str, int],
    all_of_them: bool,
    said: str,
    code: int,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert _told(Counter(counts), all_of_them) == code
    assert capsys.readouterr().err == f"ampacity: {said}\n"


def test_all_and_some_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["forget", "--all-ended", "17"]) == 2
    assert main(["forget"]) == 2
    assert "name the jobs" in capsys.readouterr().err


EMPTY = {"queued": 0, "sent": 0, "running": 0}


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (EMPTY, ""),
        ({**EMPTY, "queued": 2}, "; 2 jobs had not ended, and will not"),
        ({**EMPTY, "unfetched": 2}, ""),
        (
            {**EMPTY, "durable": True, "running": 1, "unfetched": 1},
            "; 1 job had not ended, and goes on at its next start; 1 result waits to be fetched",
        ),
        (
            {**EMPTY, "durable": True, "queued": 3, "delayed": 1},
            "; 4 jobs had not ended, and go on at its next start",
        ),
    ],
)
def test_what_down_tells(status: dict[str, int], said: str) -> None:
    assert ended_with(status) == said
