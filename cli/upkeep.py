"""``config`` and ``completion``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from .failures import Exit
from .rendering import dumps, harmless
from .settings import without_secret
from .shared import Common, command
from .tables import Table


@command(
    name="config",
    short_help="Show every setting and where it comes from.",
    examples=[
        "ampacity config",
        "AMPACITY_SLOTS=4 ampacity config --json",
    ],
)
def config_command(common: Common) -> int:
    """Show every setting, its value and where that comes from; secrets are hidden.

    A flag wins over AMPACITY_* in the environment, that over your config.toml, that over
    /etc/ampacity/config.toml.
    """
    import os

    from .settings import SYSTEM_FILE, user_file

    table = Table("SETTING", "VALUE", "SOURCE", "VARIABLE")
    for found in common.settings.all():
        if common.as_json:
            click.echo(dumps(_record(found)))
        else:
            table.add(found.setting.key, found.shown(), found.source, found.setting.variable)
    if not common.as_json:
        table.show(empty="")
        files = f"{user_file(os.environ)}, {SYSTEM_FILE}"
        click.echo(f"files: {harmless(files)}", err=True)
    return Exit.DONE


def _record(found: Any) -> dict[str, Any]:
    value = found.value
    if found.setting.secret and value is not None:
        value = "(hidden)"
    if isinstance(value, Path | str):
        value = without_secret(value)
    return {
        "setting": found.setting.key,
        "value": value,
        "source": found.source,
        "variable": found.setting.variable,
    }


@command(
    name="completion",
    short_help="Print a shell's completion script.",
    examples=[
        'eval "$(ampacity completion bash)"        in ~/.bashrc',
        "ampacity completion fish > ~/.config/fish/completions/ampacity.fish",
    ],
)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion_command(common: Common, shell: str) -> int:
    """Print the script that completes ampacity's commands and options in a shell."""
    from click.shell_completion import get_completion_class

    from .tree import tree

    kind = get_completion_class(shell)
    assert kind is not None
    click.echo(kind(tree, {}, "ampacity", "_AMPACITY_COMPLETE").source())
    return Exit.DONE
