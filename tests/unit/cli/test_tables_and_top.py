"""Tables and the live view, as text."""

from __future__ import annotations

from typing import Any

from ampacity.cli.tables import Table, columns
from ampacity.cli.top import picture, record
from rich.console import Console

SEEN: dict[str, Any] = {
    "status": {
        "store": b"\x01" * 16,
        "software": "0.1.0",
        "started": 1_700_000_000.0,
        "listening": ["unix:/run/socket"],
        "queued": 3,
        "sent": 1,
        "running": 1,
        "ended": {"succeeded": 7, "failed": 2},
        "workers": 1,
        "slots": 2,
        "busy": 1,
        "rate": 12.34,
        "lag": {"p50": 0.0002, "p99": 0.004, "max": 0.02, "ticks": 100},
        "memory": 50 << 20,
        "cpu": 3.0,
    },
    "workers": [
        {
            "name": "evil\x1b[31m",
            "state": "connected",
            "slots": 2,
            "running": 1,
            "held": 4,
            "finished": 9,
            "failed": 2,
            "lost": 0,
            "python": "3.11",
            "since": 1_700_000_000.0,
            "load": {"cpu": 99.0, "memory": 1 << 30, "lag": {"p99": 0.002}},
        }
    ],
    "running": [
        {"id": 5, "target": "m:f", "state": "running", "worker": "w", "began": 1_700_000_060.0}
    ],
}


def drawn(seen: dict[str, Any], height: int | None = None, width: int = 110) -> str:
    console = Console(width=width, color_system=None)
    with console.capture() as capture:
        console.print(picture(seen, 1_700_000_065.0, height, width))
    return capture.get()


def test_the_picture() -> None:
    shown = drawn(SEEN)
    for part in (
        "slots 1/2 █████░░░░░",
        "rate 12.3 jobs/s",
        "loop lag p99 4 ms",
        "queued 4",
        "done 7",
        "failed 2",
        "99%",
        "1.0 GiB",
        "5.0 s",
    ):
        assert part in shown
    assert "\x1b[31m" not in shown


def test_an_empty_picture() -> None:
    seen = {**SEEN, "workers": [], "running": []}
    assert "none; ampacity join brings one" in drawn(seen)
    assert "nothing runs" in drawn(seen)


def test_many_jobs_fit_the_terminal() -> None:
    seen = {**SEEN, "running": SEEN["running"] * 100}
    shown = drawn(seen, height=24)
    assert len(shown.splitlines()) <= 24
    assert "more" in shown


def test_a_narrow_terminal_shows_what_matters_most() -> None:
    seen = {**SEEN, "running": SEEN["running"] * 100}
    shown = drawn(seen, height=40, width=40)
    assert len(shown.splitlines()) <= 40
    for part in ("slots 1/2 █████░░░░░", "rate 12.3 jobs/s", "failed 2", "SLOTS", "99%", "5.0 s"):
        assert part in shown
    assert "PYTHON" not in shown


def test_the_record() -> None:
    made = record(SEEN, 1_700_000_065.0)
    assert made["time"] == "2023-11-14T22:14:25.000Z"
    assert made["status"]["store"] == "01" * 16
    assert made["running"][0]["id"] == 5


def test_a_table() -> None:
    table = Table("NAME", ">N")
    table.add("a\nb", "5")
    table.add("long" * 20, "123")
    assert table.lines()[1].startswith("a\\nb")
    assert table.lines(30)[0].startswith("NAME")
    assert all(len(line) <= 30 for line in table.lines(30))
    assert table.lines()[1].endswith("    5")


def test_wide_characters_stand_in_line() -> None:
    table = Table("NAME", "N")
    table.add("日本", "5")
    table.add("e\u0301", "6")
    assert table.lines() == ["NAME  N", "日本  5", "e\u0301     6"]
    assert [columns(line) <= 6 for line in table.lines(6)] == [True] * 3
