"""``backup``: the coordinator copies its store while it works."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ..protocol.errors import StoreRefused
from .failures import Exit, say
from .rendering import byte_count, dumps, span
from .shared import Common, command, echo_path


@command(
    name="backup",
    short_help="Copy the coordinator's store while it works.",
    examples=[
        "ampacity backup ~/backups/monday      a new folder, on the coordinator's machine",
    ],
)
@click.argument("folder", type=click.Path(path_type=Path))
def backup_command(common: Common, folder: Path) -> int:
    """Copy all jobs and results into a new folder, as they are at one moment.

    The coordinator goes on meanwhile. To restore: stop the coordinator, move its store folder
    away, put a copy of the backup in its place, start it again. Jobs that had not ended when the
    backup was made run again then.
    """
    from .connecting import client

    place = folder.expanduser().absolute()
    if place.exists() and (not place.is_dir() or any(place.iterdir())):
        raise StoreRefused(f"{place} is there already: a backup needs a folder of its own")

    async def main(reactor: Any, link: Any) -> int:
        report = await link.backup(place)
        if common.as_json:
            click.echo(dumps({"folder": str(place), **report}))
            return Exit.DONE
        echo_path(place)
        facts = f"{report['jobs']} jobs, {report['values']} large values"
        took = f"{byte_count(report['bytes'])} in {span(report['seconds'])}"
        say(f"the backup holds {facts}: {took}")
        return Exit.DONE

    return client(common, main)
