"""``token create``, ``token list`` and ``token revoke``."""

from __future__ import annotations

import getpass
import time
from collections.abc import Sequence
from typing import Any

import click

from ..protocol.tokens import ROLES, Role
from .failures import Exit, say
from .rendering import dumps, harmless, local_time, rfc3339, span
from .settings import duration
from .shared import Common, command
from .tables import Table

DAY = 24 * 3600.0

_MAY: dict[Role, str] = {
    "worker": "any number of workers may join with it; jobs run there as their user",
    "client": "whoever has it may run any code on every worker",
    "operator": "whoever has it may run any code on every worker, and do all that you may",
    "viewer": "whoever has it sees the states of all jobs; no arguments, no results",
}


class Lifetime(click.ParamType):  # type: ignore[type-arg]  # generic in new releases only
    """``24h``, or ``never``: seconds, 0 for no end."""

    name = "time"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        if not isinstance(value, str):
            return float(value)
        if value == "never":
            return 0.0
        try:
            seconds = duration(value)
        except ValueError as e:
            self.fail(f"{e}, or it is: never", param, ctx)
        if not seconds:
            self.fail("a token that is good for no time is good for nothing", param, ctx)
        return seconds


@command(
    name="token",
    cls=click.Group,
    short_help="Make, list and revoke tokens.",
    examples=[
        "ampacity token create --role worker --expires 24h",
        "ampacity token list",
        "ampacity token revoke 3fKq --joined",
    ],
)
def token_command(common: Common) -> int:
    """Make, list and revoke the tokens that let others in over the network.

    For operators: on the coordinator's machine its own user, elsewhere who has an operator's token.
    """
    click.get_current_context().obj = common
    return Exit.DONE


@command(
    name="create",
    short_help="Make a token; print the line to paste.",
    examples=[
        "ampacity token create --role worker                       good for 24 hours",
        "ampacity token create --role client --name ci --expires 30d",
        "ampacity token create --role viewer --expires never > viewer.token",
    ],
)
@click.option("--role", type=click.Choice(ROLES), required=True, help="What it lets do.")
@click.option(
    "--expires", type=Lifetime(), default="24h", show_default=True, help="24h, 30d, ... or never."
)
@click.option("--name", metavar="TEXT", help="What the list shall call it.")
def create_command(common: Common, role: Role, expires: float, name: str | None) -> int:
    """Make a token and print the line to paste, host:8786#TOKEN. It is shown this once.

    A worker's token is for joining: each worker gets a credential of its own for it, and keeps
    that when the token has expired.
    """
    from .connecting import client

    async def main(reactor: Any, link: Any) -> int:
        line, token = await link.create_token(role, expires or None, name)
        if common.as_json:
            until = rfc3339(time.time() + expires if expires else None)
            told = {"line": line, "token": token, "role": role, "name": name, "expires": until}
            click.echo(dumps(told))
        else:
            click.echo(line)
        end = f"good for {span(expires)}" if expires else "good until it is revoked"
        say(f"token {token}, {end}: {_MAY[role]}{await _own(common, link, role)}")
        return Exit.DONE

    return client(common, main)


async def _own(common: Common, link: Any, role: Role) -> str:
    """What it means for the coordinator's own machine, where that has slots."""
    if role not in ("client", "operator"):
        return ""
    if not any(worker.get("local") for worker in await link.query("workers")):
        return ""
    from .connecting import line_in

    settings = common.settings
    if settings["coordinator"] is None and line_in(settings) is None:
        return f"; that includes this machine, as user {getpass.getuser()}"
    return "; that includes the coordinator's machine, as the user whom it runs as"


@command(
    name="list",
    short_help="List the tokens that are good.",
    examples=["ampacity token list", "ampacity token list --json"],
)
def list_command(common: Common) -> int:
    """List tokens, and the credentials that workers got for one; never the secrets."""
    from .connecting import client

    async def main(reactor: Any, link: Any) -> int:
        show_tokens(await link.list_tokens(), common.as_json)
        return Exit.DONE

    return client(common, main)


def show_tokens(tokens: Sequence[dict[str, Any]], as_json: bool) -> None:
    """Print the list."""
    if as_json:
        for token in tokens:
            times = {key: rfc3339(token[key]) for key in ("created", "expires", "last")}
            click.echo(dumps({**token, **times}))
        return
    table = Table(
        "TOKEN", "ROLE", "USE", "NAME", "CREATED", "EXPIRES", "JOINED BY", ">CONNECTIONS", "LAST"
    )
    now = time.time()
    for token in tokens:
        expires = token["expires"]
        table.add(
            str(token["id"]),
            str(token["role"]),
            "to join" if token["use"] == "join" else "",
            str(token["name"] or ""),
            local_time(token["created"], now),
            "never" if expires is None else f"in {span(max(0.0, expires - now))}",
            str(token["origin"] or ""),
            str(token["connections"]),
            local_time(token["last"], now),
        )
    table.show(empty="no tokens; ampacity token create makes one")


@command(
    name="revoke",
    short_help="Take tokens back; their connections end.",
    examples=[
        "ampacity token revoke 3fKq             the beginning of an id is enough",
        "ampacity token revoke 3fKq --joined    and every worker that joined with it",
    ],
)
@click.argument("ids", metavar="ID...", nargs=-1, required=True)
@click.option("--joined", is_flag=True, help="With the credentials that workers got for it.")
def revoke_command(common: Common, ids: Sequence[str], joined: bool) -> int:
    """Take tokens back: nobody comes in with them, and who is in with them is out at once.

    What a worker had begun runs elsewhere.
    """
    from .connecting import client

    async def main(reactor: Any, link: Any) -> int:
        before = {token["id"]: token for token in await link.list_tokens()}
        gone: list[str] = []
        for one in ids:
            revoked = await link.revoke_token(one, joined)
            gone += revoked
            for token in revoked:
                click.echo(dumps({"revoked": token}) if common.as_json else f"revoked {token}")
        _tell_of_origins([before[token] for token in gone if token in before], gone, before)
        return Exit.DONE

    return client(common, main)


def _tell_of_origins(
    revoked: Sequence[dict[str, Any]], gone: Sequence[str], before: dict[str, dict[str, Any]]
) -> None:
    """A machine that was shut out may still have the token that it has joined with."""
    origins = {token["origin"] for token in revoked} - {None, *gone}
    for origin in sorted(origins & set(before)):
        say(
            f"the token {harmless(origin)} that it had joined with is still good: who has it can "
            f"join again, until ampacity token revoke {harmless(origin)}"
        )


assert isinstance(token_command, click.Group)
token_command.add_command(create_command)
token_command.add_command(list_command)
token_command.add_command(revoke_command)
