"""``run`` and ``submit``: one job."""

from __future__ import annotations

import signal
from typing import Any

import click

from .arguments import command_payload, payload
from .failures import Exit, say, tell
from .shared import Common, WordsCommand, command, misplaced, words
from .specs import Wanted, job_options

KEY = click.option(
    "--key", metavar="TEXT", help="Submitting again with this key is the same job, ended or not."
)


@command(
    "slots",
    "python",
    "setup",
    "cwd",
    "patience",
    cls=WordsCommand,
    name="run",
    short_help="Run one job and wait.",
    examples=[
        "ampacity run math:factorial 20               prints 2432902008176640000",
        "ampacity run math:fabs -5                    a negative number is an argument",
        "ampacity run --kw seed=7 mymodule:simulate 1000",
        "ampacity run --timeout 10m -- make -C paper  a command; exits as it does",
    ],
)
@job_options
@KEY
def run_command(common: Common, key: str | None, **given: Any) -> int:
    """Run one job and wait for it: a function with its arguments, or a command after --.

    What the job prints is printed while it runs; then the result, as JSON where it is exactly
    that, a text bare. With no coordinator here, it runs on a pool of its own. One that goes away
    meanwhile is waited for: --patience says how long, and then how to come back is told.
    """
    wanted = Wanted(words(), {**given, "cwd": common.settings["cwd"]})
    if not wanted.command:
        return _run(common, wanted, key)
    try:
        return _run(common, wanted, key)
    except click.UsageError:
        raise
    except Exception as e:  # noqa: BLE001  # a command's exit codes are its own; ours is 125
        tell(e)
        return Exit.OURSELVES


@command(
    "cwd",
    "patience",
    cls=WordsCommand,
    name="submit",
    short_help="Submit one job and print its id.",
    examples=[
        "ampacity submit mymodule:simulate 1000       prints the job's id",
        "ampacity submit --wait -- make all           and waits for its end",
        "ampacity result last                         what it returned",
    ],
)
@job_options
@KEY
@click.option("--wait", is_flag=True, help="Wait for its end; exits 1 if it did not succeed.")
def submit_command(common: Common, key: str | None, wait: bool, **given: Any) -> int:
    """Submit one job to the coordinator and print its id. It goes on without you."""
    from .connecting import client

    wanted = Wanted(words(), {**given, "cwd": common.settings["cwd"]})

    async def main(reactor: Any, link: Any) -> int:
        return await _submit(reactor, link, wanted, common, key, wait)

    return client(common, main)


def _run(common: Common, wanted: Wanted, key: str | None) -> int:
    from .connecting import client

    async def main(reactor: Any, link: Any) -> int:
        return await _attached(reactor, link, wanted, common, key)

    return client(common, main, own=True)


def _hand_in(link: Any, wanted: Wanted, key: str | None, sink: Any = None) -> Any:
    """Submit the job; its ticket."""
    from ..client.options import Options
    from ..protocol.jobs import pack_spec

    Options().with_({"key": key})
    spec = pack_spec(wanted.spec(link, attach=sink is not None))
    return link.submit(spec, call_payload(wanted), key, sink=sink)


async def _accepted(link: Any, ticket: Any) -> Any:
    """The job's id, once the coordinator has it."""
    job = await ticket.accepted()
    if link.warning:
        say(f"job {job} waits: {link.warning}")
    return job


def call_payload(wanted: Wanted) -> bytes:
    """The payload of a lone job."""
    from .arguments import value_of

    if wanted.command:
        return command_payload(wanted.words)
    return payload([value_of(word, wanted.mode) for word in wanted.fixed], wanted.kwargs)


async def _attached(
    reactor: Any, link: Any, wanted: Wanted, common: Common, key: str | None
) -> int:
    from twisted.internet.defer import Deferred

    from ..protocol.errors import NoCoordinator
    from .interrupts import Left, attended, tell_kept, tell_left
    from .printing import print_outcome
    from .streams import Writer

    writer = Writer(reactor)

    def sink(stream: int, data: bytes) -> Any:
        return writer.write(2 if common.as_json else stream, data)

    ticket = _hand_in(link, wanted, key, sink)
    job = await _accepted(link, ticket)

    async def finish() -> int:
        delivery = await ticket.ended()
        await print_outcome(writer, link, delivery, common.as_json, with_logs=False)
        _tell_misplaced(delivery)
        return _code(delivery, wanted.command)

    try:
        return await attended(
            reactor,
            link,
            Deferred.fromCoroutine(finish()),
            lambda: link.cancel([job]),
        )
    except Left:
        tell_left(link, f"job {job}", f"ampacity logs -f {job}; ampacity result {job}")
        return Exit.INTERRUPTED
    except NoCoordinator:
        tell_kept(f"job {job}", f"ampacity wait {job}; ampacity result {job}")
        raise


def _tell_misplaced(delivery: Any) -> None:
    """A job that has failed may have got options that were meant for us."""
    from ..protocol.outcomes import Ending

    if delivery.ending is Ending.FAILED and (hint := misplaced()):
        say(hint)


def _code(delivery: Any, is_command: bool) -> int:
    """The exit code that tells how a job ended; a command's own, where it has one."""
    from ..protocol.outcomes import Ending, unpack_outcome

    if not is_command:
        return Exit.DONE if delivery.ending is Ending.SUCCEEDED else Exit.JOB_FAILED
    outcome = unpack_outcome(delivery.body)
    if outcome.exit_code is not None:
        code = outcome.exit_code
        return 128 - code if code < 0 else code
    if outcome.evidence is not None and outcome.evidence.signal:
        return 128 + _number_of(outcome.evidence.signal)
    return Exit.OURSELVES


def _number_of(name: str) -> int:
    found = getattr(signal, name, None)
    return int(found) if isinstance(found, signal.Signals) else 0


async def _submit(
    reactor: Any, link: Any, wanted: Wanted, common: Common, key: str | None, wait: bool
) -> int:
    from .rendering import dumps

    link.session.hands_in = not wait
    ticket = _hand_in(link, wanted, key)
    job = await _accepted(link, ticket)
    click.echo(dumps({"id": job}) if common.as_json else str(job))
    return await _submitted(reactor, link, ticket, common) if wait else Exit.DONE


async def _submitted(reactor: Any, link: Any, ticket: Any, common: Common) -> int:
    from twisted.internet.defer import Deferred

    from ..protocol.errors import NoCoordinator
    from ..protocol.outcomes import Ending, unpack_outcome
    from .interrupts import Left, attended, tell_kept, tell_left
    from .printing import tell_failure
    from .records import delivery_record
    from .rendering import dumps

    async def finish() -> int:
        delivery = await ticket.ended()
        if common.as_json:
            click.echo(dumps(delivery_record(delivery)))
        elif delivery.ending is not Ending.SUCCEEDED:
            tell_failure(delivery, unpack_outcome(delivery.body))
        _tell_misplaced(delivery)
        return _code(delivery, False)

    work = Deferred.fromCoroutine(finish())
    try:
        return await attended(reactor, link, work, lambda: link.cancel([ticket.id]))
    except Left:
        tell_left(link, f"job {ticket.id}", f"ampacity result {ticket.id}")
        return Exit.INTERRUPTED
    except NoCoordinator:
        tell_kept(f"job {ticket.id}", f"ampacity wait {ticket.id}; ampacity result {ticket.id}")
        raise
