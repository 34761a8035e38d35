"""From an outcome to an exception."""

from __future__ import annotations

import pickle
from typing import Any

import pytest
from ampacity.client.results import raise_error, value_of
from ampacity.protocol.errors import (
    CommandFailed,
    ForeignResult,
    JobCancelled,
    JobCrashed,
    JobFailed,
    JobTimedOut,
)
from ampacity.protocol.ids import JobId
from ampacity.protocol.outcomes import Ending, ErrorText, Evidence, Outcome

_TEXT = ErrorText("shop.OutOfStock", "no tea", "Traceback (most recent call last):\n  ...")


def _error(ending: Ending, outcome: Outcome, source: bytes | None = None) -> Any:
    with pytest.raises(Exception) as raised:  # its kind is what is tested
        raise_error(JobId(17), "render", ending, outcome, source)
    return raised.value


def test_an_exception_that_can_be_rebuilt():
    error = _error(Ending.FAILED, Outcome(error=_TEXT), pickle.dumps(KeyError("tea")))
    assert type(error) is KeyError
    assert error.remote_traceback == _TEXT.traceback
    assert "Traceback" in str(error.__cause__)


@pytest.mark.parametrize(
    "source",
    [
        None,
        b"damaged",
        pickle.dumps("no exception"),
        pickle.dumps(SystemExit(3)),
        pickle.dumps(StopIteration()),
    ],
)
def test_an_exception_that_cannot(source):
    error = _error(Ending.FAILED, Outcome(error=_TEXT, tail=b"last words\n"), source)
    assert type(error) is JobFailed
    assert (error.type_name, error.traceback) == (_TEXT.type_name, _TEXT.traceback)
    assert error.remote_traceback == _TEXT.traceback
    assert str(error).startswith("job 17 (render) raised shop.OutOfStock: no tea; its last output:")
    assert (error.job, error.output) == (17, "last words\n")


def test_a_command():
    error = _error(Ending.FAILED, Outcome(exit_code=3, tail=b"oh"))
    assert type(error) is CommandFailed
    assert error.exit_code == 3
    assert "ended with exit code 3" in str(error)


@pytest.mark.parametrize(
    ("ending", "kind", "words"),
    [
        (Ending.TIMED_OUT, JobTimedOut, "timed out"),
        (Ending.CANCELLED, JobCancelled, "was cancelled"),
        (Ending.CRASHED, JobCrashed, "crashed"),
    ],
)
def test_other_endings_say_all_that_is_known(ending, kind, words):
    evidence = Evidence(
        worker="w1",
        host="forge",
        pid=4711,
        signal="SIGKILL",
        exit_code=None,
        peak_memory=512 * 1024 * 1024,
        reason="out of memory",
    )
    error = _error(ending, Outcome(evidence=evidence, tail=b"allocating\n"))
    assert type(error) is kind
    assert str(error) == (
        f"job 17 (render) {words}: out of memory (worker w1 on forge, pid 4711, signal SIGKILL, "
        "peak memory 512 MiB); its last output:\nallocating"
    )
    assert error.evidence["signal"] == "SIGKILL"


def test_values():
    assert value_of(1, "f", Outcome(), pickle.dumps([1])) == [1]
    assert value_of(1, "f", Outcome(), None) is None
    with pytest.raises(JobFailed, match=r"the result of job 1 \(f\) cannot be unpickled here"):
        value_of(1, "f", Outcome(), b"damaged")


def test_a_value_that_was_withheld_is_named():
    with pytest.raises(ForeignResult, match="ampacity result 17 shows it") as raised:
        value_of(JobId(17), "render", Outcome(withheld=True), None)
    assert raised.value.job == 17


def test_a_failure_whose_exception_was_withheld_is_told_as_text():
    error = _error(Ending.FAILED, Outcome(error=_TEXT, withheld=True))
    assert (type(error), error.type_name) == (JobFailed, _TEXT.type_name)
