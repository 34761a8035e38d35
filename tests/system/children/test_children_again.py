"""Which ends of real children are worth another attempt, as their reports say."""

from __future__ import annotations

import pytest
import pytest_twisted
from ampacity.protocol.jobs import BlobRef
from ampacity.protocol.outcomes import Ending

ensure = pytest_twisted.ensureDeferred


@ensure
@pytest.mark.parametrize(
    ("target", "args", "retry_on", "again"),
    [
        ("fail_with", ("anything",), None, True),
        ("fail_with", ("SystemExit",), None, False),
        ("fail_with", ("KeyboardInterrupt",), None, False),
        ("fail_with", ("anything",), ("LookupError",), False),
        ("fail_with", ("anything",), ("LookupError", "ValueError"), True),
        ("fail_with", ("Interesting",), ("deeds.Interesting",), True),
        ("fail_with", ("Interesting",), ("Exception",), True),
        ("fail_with", ("SystemExit",), ("SystemExit",), True),
        ("nowhere:f", (), ("ValueError",), False),
        ("nowhere:f", (), ("ImportError",), True),
        ("threading:Lock", (), ("ValueError",), False),
        ("threading:Lock", (), ("TypeError",), True),
    ],
)
async def test_errors(worker, target, args, retry_on, again):
    report = await worker.report(worker.submit(target, *args, retry_on=retry_on))
    assert (report.ending, report.again) == (Ending.FAILED, again)


@ensure
async def test_exit_codes_and_time_outs_always_are_and_deadlines_never(worker, mark_file):
    report = await worker.report(
        worker.submit("sh", "false", kind="command", retry_on=("KeyError",))
    )
    assert (report.ending, report.again) == (Ending.FAILED, True)
    slow = worker.submit(
        "mark_and_wait", str(mark_file), 60.0, timeout=0.05, retry_on=("KeyError",)
    )
    report = await worker.report(slow)
    assert (report.ending, report.again) == (Ending.TIMED_OUT, True)
    late = worker.submit("mark_and_wait", str(mark_file), 60.0)
    await worker.soon(lambda: len(mark_file.read_text()) == 2)
    worker.end(late, "deadline")
    report = await worker.report(late)
    assert (report.ending, report.again) == (Ending.TIMED_OUT, False)


@ensure
async def test_a_value_that_is_gone(worker):
    gone = BlobRef(b"g" * 32, 7)
    named = worker.submit("add", payload=gone, retry_on=("ValueError",))
    anything = worker.submit("add", payload=gone)
    assert (await worker.report(named)).again is False
    assert (await worker.report(anything)).again is True
