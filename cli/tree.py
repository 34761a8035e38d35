"""The tree of commands and its help text.

Commands are imported when they are called for, and Twisted only inside them, so that the help
texts are there at once.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

import click

from .. import __version__
from .settings import options

# the order is the help text's: beginning, jobs, what became of them, the rest
_COMMANDS: dict[str, tuple[str, str]] = {
    "up": ("services", "A coordinator with slots of its own, on this machine."),
    "coordinator": ("services", "A coordinator for other machines, without slots."),
    "join": ("services", "Offer this machine's processors to a coordinator."),
    "down": ("services", "Stop the coordinator that runs here."),
    "run": ("running", "Run one job and wait: a function, or a command after --."),
    "submit": ("running", "Submit one job and print its id."),
    "map": ("mapping", "Run a function or a command over many items."),
    "jobs": ("listing", "List your jobs."),
    "job": ("listing", "Tell all about a job."),
    "result": ("following", "Print what jobs returned."),
    "logs": ("following", "Print what jobs printed."),
    "wait": ("following", "Wait until jobs have ended."),
    "cancel": ("ending", "End jobs, also running ones."),
    "retry": ("ending", "Run ended jobs again."),
    "forget": ("forgetting", "Give up ended jobs and their results."),
    "workers": ("workers", "List the workers; drain one, reload their children."),
    "top": ("top", "Watch workers, queue and running jobs."),
    "token": ("token", "Make, list and revoke tokens for others."),
    "config": ("upkeep", "Show every setting and where it comes from."),
    "doctor": ("doctor", "Check installation, store, and the way to the coordinator."),
    "backup": ("backups", "Copy the coordinator's store while it works."),
    "service": ("service", "Install coordinator or worker as a service of systemd."),
    "chaos": ("chaos", "Strike a throw-away cluster with faults; prove that nothing is lost."),
    "completion": ("upkeep", "Print a shell's completion script."),
}


class Tree(click.Group):
    """The commands by name; each one's module is imported when it is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        module = import_module(f".{_COMMANDS[cmd_name][0]}", __package__)
        command: click.Command = getattr(module, f"{cmd_name}_command")
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0] if args else ""
        if args and name not in _COMMANDS:
            raise click.UsageError(f"there is no command {name!r:.60}{_near(name)}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in _COMMANDS.items()])


def _near(name: str) -> str:
    import difflib

    near = difflib.get_close_matches(name, _COMMANDS, 1)
    if ":" in name:
        return f"; did you mean: ampacity run {name}"
    return f"; did you mean {near[0]}?" if near else ""


@click.command(
    cls=Tree,
    epilog="""\b
Examples:
  ampacity up                                   a coordinator with slots, here
  ampacity run math:factorial 20                prints 2432902008176640000
  ampacity run -- sh -c 'echo hello; exit 3'    runs a command, exits 3
  ampacity map math:factorial ::: 5 10 20       a line an item
  ampacity COMMAND --help                       more, with examples
""",
)
@click.version_option(__version__, message="ampacity %(version)s")
@options("coordinator", "token_file", "access")
@click.option("--json", "as_json", is_flag=True, help="Print JSON; lists as one value a line.")
@options("log_level", "log_format")
@click.pass_context
def tree(ctx: click.Context, /, as_json: bool, **flags: Any) -> None:
    """Run CPU-heavy jobs on this machine and on others."""
    from .shared import Common

    ctx.obj = Common.of_group(flags, as_json)
