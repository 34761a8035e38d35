"""``chaos``: prove on this machine that no fault loses a job."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .failures import Exit, say
from .shared import Common, command

if TYPE_CHECKING:
    from .chaos_schedule import Fault

_SEEDS = 1_000_000


@command(
    name="chaos",
    short_help="Strike a throw-away cluster with faults, and prove that nothing is lost.",
    examples=[
        "ampacity chaos                                 half a minute of everything",
        "ampacity chaos --jobs 10000 --seconds 480 --faults kill-worker=2,kill-coordinator=10",
        "ampacity chaos --seed 7                        the same jobs and faults again",
    ],
)
@click.option("--jobs", metavar="N", type=click.IntRange(20), default=500, show_default=True)
@click.option("--workers", metavar="N", type=click.IntRange(1, 64), default=3, show_default=True)
@click.option(
    "--slots",
    metavar="N",
    type=click.IntRange(1, 64),
    default=2,
    show_default=True,
    help="Jobs that run at once on each worker.",
)
@click.option(
    "--seconds",
    metavar="S",
    type=click.FloatRange(1),
    default=30.0,
    show_default=True,
    help="How long faults strike; what is left is drained after that.",
)
@click.option("--seed", metavar="N", type=click.IntRange(0), help="Draws jobs and faults.")
@click.option(
    "--faults",
    metavar="A,B=S,C=S:L",
    help="Only these; one every S seconds, lasting L; or none. Default: all that can be had.",
)
@click.option(
    "--keep",
    metavar="FOLDER",
    type=click.Path(path_type=Path),
    help="Leave the histories and logs there.",
)
def chaos_command(
    common: Common,
    jobs: int,
    workers: int,
    slots: int,
    seconds: float,
    seed: int | None,
    faults: str | None,
    keep: Path | None,
) -> int:
    """Start a throw-away cluster, kill and disturb its processes while it works, and check that
    each job ended once, and as it should.

    It has its own folders and ports, and touches nothing else. Exits with 0 if the proof stands,
    with 1 if a promise was broken; the same seed draws the same jobs and faults. Some faults need
    root or another program; what cannot be had is left out, and told.
    """
    from .chaos_engine import Wish, run
    from .chaos_report import lines, record
    from .reacting import react
    from .rendering import dumps, harmless

    wish = Wish(
        seed=secrets.randbelow(_SEEDS) if seed is None else seed,
        jobs=jobs,
        workers=workers,
        slots=slots,
        seconds=seconds,
        faults=_faults(faults),
        keep=keep,
    )
    say(f"seed {wish.seed}; to run this again: {wish.command()}")

    async def main(reactor: Any) -> int:
        result = await run(reactor, wish, say)
        if common.as_json:
            click.echo(dumps(record(result)))
        else:
            click.echo("\n".join(map(harmless, lines(result))))
        return Exit.DONE if result.proved else Exit.JOB_FAILED

    return react(main, "critical", "text")


def _faults(text: str | None) -> Mapping[str, Fault]:
    from .chaos_schedule import FAULTS, parse_faults

    if text is None:
        return FAULTS
    if text == "none":
        return {}
    try:
        return parse_faults(text)
    except ValueError as e:
        raise click.UsageError(f"--faults: {e}") from None
