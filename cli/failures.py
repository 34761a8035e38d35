"""What the command line says and answers when something is wrong: what, why, what next."""

from __future__ import annotations

import sys
from enum import IntEnum

import click

from ..protocol import errors
from ..protocol.outcomes import Ending, Outcome
from ..protocol.redacting import redacted
from .rendering import byte_count, harmless, harmless_lines


class Exit(IntEnum):
    """The exit codes of the command line. ``run -- COMMAND`` has the command's own."""

    DONE = 0
    JOB_FAILED = 1
    USAGE = 2
    NO_COORDINATOR = 3
    REFUSED = 4
    NOT_FOUND = 5
    WAIT_TIMED_OUT = 124
    OURSELVES = 125
    INTERRUPTED = 130
    BROKEN_PIPE = 141


class Unusable(click.UsageError):
    """The input cannot be used; unlike click's own, without the line of usage."""


class CoordinatorBroke(errors.AmpacityError):
    """The coordinator cannot go on: its disk has not kept what it was given."""


DAMAGED = (
    "Look at the disk (dmesg, its free room), then start the coordinator again: it reads what is "
    "stored, and goes on with it. ampacity doctor checks the store; a backup is put in its place "
    "as docs/howto/deployment.md says."
)

_CODES: tuple[tuple[type[Exception], Exit], ...] = (
    (errors.NoCoordinator, Exit.NO_COORDINATOR),
    (errors.CoordinatorLost, Exit.NO_COORDINATOR),
    (errors.Disconnected, Exit.NO_COORDINATOR),
    (errors.Refused, Exit.REFUSED),
    (errors.ForeignResult, Exit.REFUSED),
    (errors.TooLarge, Exit.REFUSED),
    (errors.Damaged, Exit.REFUSED),
    (errors.NoSuchJob, Exit.NOT_FOUND),
    (errors.NoSuchGroup, Exit.NOT_FOUND),
    (errors.NoSuchWorker, Exit.NOT_FOUND),
    (errors.NoSuchBlob, Exit.NOT_FOUND),
    (errors.NoSuchToken, Exit.NOT_FOUND),
    (errors.CannotStart, Exit.USAGE),
    (errors.BadOption, Exit.USAGE),
    (errors.NotPackable, Exit.USAGE),
    (click.UsageError, Exit.USAGE),
)

_NEXT: tuple[tuple[type[Exception], str], ...] = (
    (
        errors.NoCoordinator,
        (
            "Another one is named with --coordinator ADDRESS or AMPACITY_COORDINATOR; "
            "ampacity doctor shows what is tried."
        ),
    ),
    (
        errors.CoordinatorLost,
        (
            "The one that runs now has another store: was the other ephemeral, or does it use "
            "another state folder (ampacity doctor)? Else submit again."
        ),
    ),
    (
        errors.Disconnected,
        "Whether it has done what was asked is not known; ampacity jobs shows what there is.",
    ),
    (
        errors.TokenDamaged,
        "The coordinator printed it when it started.",
    ),
    (
        errors.TokenRefused,
        "Take the line that the coordinator printed at its last start, or ask who runs it.",
    ),
    (
        errors.WrongKey,
        (
            "Somebody else answers at this address, or the coordinator made a new key: "
            "take the line that it printed at its last start."
        ),
    ),
    (errors.QueueFull, "Wait until some of its jobs have ended, then try again."),
    (
        errors.StorageFull,
        (
            "Make room on the coordinator's disk (ampacity doctor says where), or give up results "
            "that nobody needs: ampacity forget --fetched, ampacity forget g3. What was accepted "
            "goes on meanwhile, and submissions are taken again as soon as there is room."
        ),
    ),
    (errors.Damaged, DAMAGED),
    (CoordinatorBroke, DAMAGED),
    (errors.NoSuchWorker, "ampacity workers lists them."),
    (errors.NoSuchToken, "ampacity token list shows those that are good."),
    (errors.NoSuchJob, "ampacity jobs lists yours; ended jobs are forgotten after a while."),
    (errors.NoSuchGroup, "ampacity jobs lists yours; ended jobs are forgotten after a while."),
)


def exit_code(error: BaseException) -> int:
    """The exit code that tells this error."""
    for kind, code in _CODES:
        if isinstance(error, kind):
            return code
    return Exit.JOB_FAILED


def next_step(error: BaseException) -> str | None:
    """What to do about an error, unless its message tells it already."""
    for kind, text in _NEXT:
        if isinstance(error, kind):
            return text
    return None


def say(text: str) -> None:
    """A line for people, on stderr; further lines of it are indented."""
    shown = harmless_lines(redacted(text)).replace("\n", "\n  ")
    print(f"ampacity: {shown}", file=sys.stderr, flush=True)


def tell(error: BaseException) -> None:
    """Print an error: what and why, then what next."""
    if isinstance(error, click.UsageError) and not isinstance(error, Unusable):
        _tell_usage(error)
        return
    say(error.format_message() if isinstance(error, click.ClickException) else str(error))
    if step := next_step(error):
        print(f"  {step}", file=sys.stderr, flush=True)


def _tell_usage(error: click.UsageError) -> None:
    say(error.format_message())
    if error.ctx is not None:
        path = error.ctx.command_path
        print(f"  See: {path} --help", file=sys.stderr, flush=True)


def ending_text(ending: Ending, outcome: Outcome) -> str:
    """Why a job ended other than well, on one line."""
    if outcome.error is not None:
        message = harmless(outcome.error.message)
        name = harmless(outcome.error.type_name.removeprefix("builtins."))
        return f"{name}: {message}" if message else name
    if outcome.exit_code is not None and ending is Ending.FAILED:
        return f"exit code {outcome.exit_code}"
    known = _evidence_text(outcome)
    if known.startswith(ending.words):
        return known
    return f"{ending.words}: {known}" if known else ending.words


def _evidence_text(outcome: Outcome) -> str:
    evidence = outcome.evidence
    if evidence is None:
        return ""
    facts = [harmless(evidence.reason)] if evidence.reason else []
    if evidence.signal and evidence.signal not in evidence.reason:
        facts.append(f"signal {harmless(evidence.signal)}")
    if evidence.exit_code is not None and str(evidence.exit_code) not in evidence.reason:
        facts.append(f"exit code {evidence.exit_code}")
    if evidence.peak_memory:
        facts.append(f"peak memory {byte_count(evidence.peak_memory)}")
    if evidence.worker:
        facts.append(f"on {harmless(evidence.worker)}")
    return ", ".join(facts)
