"""``config``, ``doctor`` and ``completion``."""

from __future__ import annotations

import platform
import sys
from pathlib import Path
from typing import Any

import click

from .failures import Exit
from .rendering import dumps
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
        click.echo(f"files: {files}", err=True)
    return Exit.DONE


def _record(found: Any) -> dict[str, Any]:
    value = found.value
    if found.setting.secret and value is not None:
        value = "(hidden)"
    if isinstance(value, Path):
        value = str(value)
    return {
        "setting": found.setting.key,
        "value": value,
        "source": found.source,
        "variable": found.setting.variable,
    }


@command(
    name="doctor",
    short_help="Check this installation and the way to the coordinator.",
    examples=["ampacity doctor", "ampacity --coordinator host:8786 doctor"],
)
def doctor_command(common: Common) -> int:
    """Check this installation: versions, access folder, and whether a coordinator answers."""
    from .connecting import look

    checks = [_versions(), _interpreter(common), *look(common)]
    bad = False
    for name, good, text in checks:
        bad |= good is False
        if common.as_json:
            click.echo(dumps({"check": name, "ok": good, "text": text}))
        else:
            mark = {True: "ok", False: "BAD", None: "-"}[good]
            click.echo(f"{mark:<4} {name:<12} {text}")
    return Exit.JOB_FAILED if bad else Exit.DONE


Check = tuple[str, bool | None, str]
"""What was checked; whether it is well, None where it does not matter; what was found."""


def _versions() -> Check:
    from importlib.metadata import version

    from .. import __version__

    found = [f"{name} {version(name)}" for name in ("twisted", "ampoule", "msgpack")]
    system = f"{platform.system()} {platform.release()}"
    return ("versions", True, ", ".join([f"ampacity {__version__}", *found, system]))


def _interpreter(common: Common) -> Check:
    """The interpreter of the jobs: is ampacity there?"""
    import subprocess

    path = common.settings["python"]
    if path is None:
        return ("interpreter", True, f"{sys.executable} (Python {platform.python_version()})")
    asked = [
        path,
        "-c",
        "import ampacity, sys; print(ampacity.__version__, sys.version.split()[0])",
    ]
    try:
        done = subprocess.run(asked, capture_output=True, text=True, timeout=30, check=True)  # noqa: S603
    except (OSError, subprocess.SubprocessError):
        install = f"{path} -m pip install ampacity"
        return ("interpreter", False, f"{path} does not run or has no ampacity: {install}")
    return ("interpreter", True, f"{path} (ampacity and Python {done.stdout.strip()})")


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

    from .entry import tree

    kind = get_completion_class(shell)
    assert kind is not None
    click.echo(kind(tree, {}, "ampacity", "_AMPACITY_COMPLETE").source())
    return Exit.DONE
