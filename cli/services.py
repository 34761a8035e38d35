"""``up``, ``coordinator``, ``join`` and ``down``: the services in the foreground, or detached."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from .failures import Exit, say
from .readiness import announce, detached, show_coordinator
from .rendering import harmless
from .secrecy import forget_tokens, keep_memory_private, read_token
from .settings import Settings
from .shared import Common, command

STOPPING = 60.0
"""Seconds that ``down`` waits for the end of the coordinator."""

_READY = (
    click.option(
        "--ready-file",
        type=click.Path(dir_okay=False, path_type=Path),
        help="Write a JSON object there when it is ready: pid, addresses, lines to join.",
    ),
    click.option("--ready-fd", type=int, metavar="N", help="The same, to an open descriptor."),
)


def ready_options(function: Any) -> Any:
    """Decorate a command with what tells scripts that it is ready."""
    for option in reversed(_READY):
        function = option(function)
    return function


_TOKENS = click.option(
    "--tokens",
    metavar="FOLDER",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Leave a line to join with in worker/token and client/token there, for --token-file.",
)
_SETTINGS = (
    *("listen", "slots", "advertise", "python", "setup", "name", "reactor", "state"),
    *("ephemeral", "grace"),
)
_DETACH = click.option("--detach", is_flag=True, help="Leave the terminal when it is ready.")


@command(
    *_SETTINGS,
    name="up",
    short_help="A coordinator with slots of its own.",
    examples=[
        "ampacity up                       in the foreground; Ctrl-C ends it",
        "ampacity up --detach              and ampacity down",
        "ampacity up --ephemeral           nothing is kept on disk",
        "ampacity up --listen tcp:8786     other machines can join, too",
        "ampacity up --python .venv/bin/python --slots 4",
    ],
)
@ready_options
@_TOKENS
@_DETACH
def up_command(
    common: Common,
    ready_file: Path | None,
    ready_fd: int | None,
    tokens: Path | None,
    detach: bool,
) -> int:
    """Run a coordinator with slots of its own on this machine.

    The commands of this user on this machine find it by themselves. What it has accepted is on
    disk, in the state folder, and goes on at its next start; --ephemeral turns that off.
    """
    ready = (ready_file, ready_fd, tokens)
    return _coordinate(common.settings, common.settings["slots"], ready, detach)


@command(
    *_SETTINGS,
    name="coordinator",
    short_help="A coordinator for other machines.",
    examples=[
        "ampacity coordinator --listen tcp:8786",
        "ampacity coordinator --listen tcp:8786 --advertise head.example.org --slots 2",
    ],
)
@ready_options
@_TOKENS
@_DETACH
def coordinator_command(
    common: Common,
    ready_file: Path | None,
    ready_fd: int | None,
    tokens: Path | None,
    detach: bool,
) -> int:
    """Run a coordinator for workers of other machines, without slots unless --slots says so.

    It prints the line to paste on a worker, and one for clients. Over the network everything is
    encrypted, and nobody comes in without a token. What it has accepted is on disk, and goes on
    at its next start; --ephemeral turns that off.
    """
    slots = common.settings["slots"] or 0
    return _coordinate(common.settings, slots, (ready_file, ready_fd, tokens), detach)


Ready = tuple[Path | None, int | None, Path | None]
"""The file and the descriptor that are told of readiness, and the folder for tokens."""


def _coordinate(settings: Settings, slots: int | None, ready: Ready, detach: bool) -> int:
    if not detach:
        return _serve_coordinator(settings, slots, ready, show_coordinator)
    from .connecting import access_folder

    access = access_folder(settings)
    access.create()

    def serve(descriptor: int) -> int:
        def tell_parent(facts: dict[str, Any]) -> None:
            announce(facts, None, descriptor)

        return _serve_coordinator(settings, slots, ready, tell_parent)

    return detached(access.log, serve)


def _serve_coordinator(
    settings: Settings, slots: int | None, ready: Ready, show: Callable[[dict[str, Any]], None]
) -> int:
    from .reacting import install_reactor, react

    install_reactor(settings["reactor"])
    hurry: list[Callable[[], object]] = []

    async def main(reactor: Any) -> int:
        from .hosting import Host
        from .supervisor import Supervisor

        forget_tokens()
        keep_memory_private()
        supervisor = Supervisor.of_environment(reactor)
        host = Host(reactor, settings, slots)
        hurry.append(host.hurry)
        host.startService()
        try:
            await host.ready
            facts = {**host.facts(), "tokens": None if ready[2] is None else str(ready[2])}
            if ready[2] is not None:
                await host.hand_out_tokens(ready[2])
            show(facts)
            announce(facts, *ready[:2])
            supervisor.ready(f"listens at {', '.join(host.listening)}")
            await host.stopped
        finally:
            supervisor.stopping("stores what it has")
            await host.stopService()
            if ready[0] is not None:
                ready[0].unlink(missing_ok=True)
        return Exit.DONE

    return react(main, settings["log_level"], settings["log_format"], service=True, hurry=hurry)


@command(
    "slots",
    "name",
    "python",
    "setup",
    "grace",
    "lifetime",
    "user",
    "reactor",
    "state",
    name="join",
    short_help="Offer this machine's processors.",
    examples=[
        "ampacity join 'host:8786#TOKEN'              as the coordinator printed it",
        "ampacity join --token-file worker.token      the line in a file",
        "ampacity join host:8786                      a later time: the credential is kept",
        "ampacity join --lifetime 2h host:8786        gone after two hours, its jobs in order",
        "sudo ampacity join --user batch host:8786    jobs run as batch, the worker as root",
    ],
)
@click.argument("address", required=False, metavar="[ADDRESS[#TOKEN]]")
@click.option("--token-fd", type=int, hidden=True)
@ready_options
def join_command(
    common: Common,
    address: str | None,
    token_fd: int | None,
    ready_file: Path | None,
    ready_fd: int | None,
) -> int:
    """Offer this machine's processors to a coordinator.

    The token is needed once: the worker gets a credential of its own and keeps it. It connects
    again by itself. SIGTERM lets what runs end within the grace, and gives the rest back; a
    second one ends the grace. With a lifetime it does the same by itself, in time to be gone.

    Jobs have the rights of the user that runs this. --user, which takes root, has them run as
    another one, from whom the worker's credential is safe.
    """
    from .hosting import destination
    from .reacting import install_reactor, react

    settings = common.settings
    if token_fd is not None:
        address = f"{address or ''}#{read_token(token_fd)}"
    to = destination(settings, address, ask=True)
    install_reactor(settings["reactor"])

    hurry: list[Callable[[], object]] = []

    async def main(reactor: Any) -> int:
        return await _work(reactor, settings, to, (ready_file, ready_fd), hurry)

    return react(main, settings["log_level"], settings["log_format"], service=True, hurry=hurry)


async def _work(
    reactor: Any,
    settings: Settings,
    to: Any,
    ready: tuple[Path | None, int | None],
    hurry: list[Callable[[], object]],
) -> int:
    from .hosting import make_agent, tell_of_agent
    from .supervisor import Supervisor

    forget_tokens()
    keep_memory_private()
    supervisor = Supervisor.of_environment(reactor)
    agent, folder = make_agent(reactor, settings, to)
    hurry.append(lambda: agent.stopService(0))
    tell_of_agent(supervisor, agent, str(to.address))
    agent.startService()
    try:
        name = await _joined(agent)
        click.echo(harmless(f"joined {to.address} as {name}"))
        facts = {"ready": True, "pid": os.getpid(), "name": name, "address": str(to.address)}
        announce(facts, *ready)
        await agent.done
    finally:
        supervisor.stopping("finishes what runs, and gives back the rest")
        await agent.stopService()
        folder.remove()
        if ready[0] is not None:
            ready[0].unlink(missing_ok=True)
    return Exit.DONE


async def _joined(agent: Any) -> str:
    """The worker's name, when it has joined; raises what keeps it from that."""
    from twisted.internet.defer import DeferredList, FirstError

    both = [agent.ready, agent.done]
    first = DeferredList(both, fireOnOneCallback=True, fireOnOneErrback=True, consumeErrors=True)
    try:
        name, _which = await first
    except FirstError as e:
        why = e.subFailure.value
        assert why is not None
        raise why from None
    return str(name)


@command(
    name="down",
    short_help="Stop the coordinator.",
    examples=["ampacity down"],
)
def down_command(common: Common) -> int:
    """Stop the coordinator that runs here, and wait until it has stopped.

    Jobs that wait or run go on at its next start; of an ephemeral one they end with it. Their
    number is told.
    """
    from ..protocol.errors import NoCoordinator
    from .connecting import access_folder, client, line_in

    settings = common.settings
    access = access_folder(settings)
    elsewhere = settings["coordinator"] is not None or line_in(settings) is not None
    if not elsewhere and access.holder() is None:
        raise NoCoordinator(f"no coordinator runs here: nobody holds {access.path}")

    async def main(reactor: Any, link: Any) -> int:
        return await _down(reactor, link, access, elsewhere)

    return client(common, main)


async def _down(reactor: Any, link: Any, access: Any, elsewhere: bool) -> int:
    from twisted.internet.error import ConnectionClosed
    from twisted.internet.task import deferLater

    from ..protocol.errors import Disconnected

    pid = access.holder()
    status = await link.query("status")
    link.session.leaving = True
    with contextlib.suppress(Disconnected, ConnectionClosed):  # it went before it could answer
        await link.shutdown()
    if elsewhere:
        say(f"the coordinator is stopping{ended_with(status)}")
        return Exit.DONE
    until = reactor.seconds() + STOPPING
    while access.holder() == pid or _lives(pid):
        if reactor.seconds() > until:
            say(f"process {pid} still has not stopped after {STOPPING:.0f} s; see {access.log}")
            return Exit.JOB_FAILED
        await deferLater(reactor, 0.05)
    say(f"the coordinator has stopped{ended_with(status)}")
    return Exit.DONE


def ended_with(status: dict[str, Any]) -> str:
    """What became of the jobs, of whatever client: how many had not ended, or wait to be read."""
    durable = status.get("durable")
    count = sum(status.get(state, 0) for state in ("queued", "sent", "running", "delayed"))
    unread = status.get("unfetched", 0)
    facts = []
    if count:
        what = f"{count} {'job' if count == 1 else 'jobs'} had not ended, and "
        go_on = "goes on" if count == 1 else "go on"
        facts.append(what + (f"{go_on} at its next start" if durable else "will not"))
    if unread and durable:
        results = "1 result waits" if unread == 1 else f"{unread} results wait"
        facts.append(f"{results} to be fetched")
    return "".join(f"; {fact}" for fact in facts)


def _lives(pid: int | None) -> bool:
    """Whether the process has not ended; one that is only not yet waited for has."""
    import psutil

    try:
        return bool(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
