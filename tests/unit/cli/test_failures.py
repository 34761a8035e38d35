"""What is said and answered when something is wrong."""

from __future__ import annotations

import click
import pytest
from ampacity.cli.failures import Exit, Unusable, ending_text, exit_code, tell
from ampacity.protocol import errors
from ampacity.protocol.outcomes import Ending, ErrorText, Evidence, Outcome


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.NoCoordinator(), 3),
        (errors.CoordinatorLost(), 3),
        (errors.TokenDamaged(), 4),
        (errors.WrongKey(), 4),
        (errors.VersionMismatch(), 4),
        (errors.InsecureFolder(), 4),
        (errors.QueueFull(), 4),
        (errors.NoSuchJob(), 5),
        (errors.NoSuchGroup(), 5),
        (errors.CannotStart(), 2),
        (click.UsageError("x"), 2),
        (errors.AmpacityError(), 1),
    ],
)
def test_exit_codes(error: Exception, code: int) -> None:
    assert exit_code(error) == code


def test_what_why_and_what_next(capsys: pytest.CaptureFixture[str]) -> None:
    tell(errors.NoSuchJob("there is no job 7"))
    assert capsys.readouterr().err.splitlines() == [
        "ampacity: there is no job 7",
        "  ampacity jobs lists yours; ended jobs are forgotten after a while.",
    ]
    tell(Unusable("line 3 is not \x1b[1mJSON"))
    assert capsys.readouterr().err == "ampacity: line 3 is not \\x1b[1mJSON\n"
    tell(Unusable("no\nampacity: all is well\r"))
    assert capsys.readouterr().err == "ampacity: no\n  ampacity: all is well\\r\n"


def test_endings_in_words() -> None:
    raised = Outcome(error=ErrorText("builtins.ValueError", "no\nway", "…"))
    assert ending_text(Ending.FAILED, raised) == "ValueError: no\\nway"
    assert ending_text(Ending.FAILED, Outcome(exit_code=3)) == "exit code 3"
    assert ending_text(Ending.CANCELLED, Outcome()) == "cancelled"
    named = Outcome(error=ErrorText("m.\x1b[2J\n", "", ""))
    assert ending_text(Ending.FAILED, named) == "m.\\x1b[2J\\n"
    signalled = Outcome(evidence=Evidence(signal="\x07"))
    assert ending_text(Ending.CRASHED, signalled) == "crashed: signal \\x07"
    died = Outcome(evidence=Evidence(worker="w1", signal="SIGKILL", peak_memory=1 << 20))
    assert ending_text(Ending.CRASHED, died) == (
        "crashed: signal SIGKILL, peak memory 1.0 MiB, on w1"
    )
    ended = Outcome(evidence=Evidence(reason="cancelled; SIGINT was enough", signal="SIGINT"))
    assert ending_text(Ending.CANCELLED, ended) == "cancelled; SIGINT was enough"


def test_the_codes_are_those_of_the_documentation() -> None:
    assert [int(code) for code in Exit] == [0, 1, 2, 3, 4, 5, 124, 125, 130, 141]
