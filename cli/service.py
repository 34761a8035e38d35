"""``service install`` and ``service uninstall``: coordinator and worker under systemd."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from .failures import Exit, say
from .rendering import dumps
from .settings import Settings
from .shared import Common, command, echo_path
from .units import Role, Unit

SYSTEM_UNITS = Path("/etc/systemd/system")

_COORDINATOR = ("listen", "slots", "advertise", "ephemeral")
_WORKER = ("coordinator", "token_file", "lifetime", "grace")
_BOTH = ("slots", "name", "python", "setup", "reactor", "log_level", "log_format")
_PATHS = {
    "token_file": "AMPACITY_TOKEN_FILE",
    "state": "AMPACITY_STATE",
    "access": "AMPACITY_ACCESS",
}
"""Given by the environment of the unit, and with their whole path."""

_ROLE = click.argument("role", type=click.Choice(["coordinator", "worker"]))
_WHERE = (
    click.option(
        "--system", "system", flag_value=True, default=None, type=bool, help="For the machine."
    ),
    click.option("--user", "system", flag_value=False, type=bool, help="For you alone."),
)


def _where(function: Any) -> Any:
    for option in reversed(_WHERE):
        function = option(function)
    return _ROLE(function)


@command(
    name="service",
    cls=click.Group,
    short_help="Install coordinator or worker as a service of systemd.",
    examples=[
        "ampacity service install coordinator --listen tcp:8786",
        "ampacity service install worker --coordinator host:8786 --token-file worker.token",
        "sudo ampacity service install --system coordinator --run-as batch",
        "ampacity service uninstall worker",
    ],
)
def service_command(common: Common) -> int:
    """Coordinator and worker as services of systemd, for you or for the machine."""
    click.get_current_context().obj = common
    return Exit.DONE


@command(
    *dict.fromkeys(["listen", "advertise", "ephemeral", "grace", "lifetime", "state"]),
    *("slots", "name", "python", "setup", "reactor"),
    name="install",
    short_help="Write a unit, and say how to start it.",
    examples=[
        "ampacity service install coordinator --listen tcp:8786",
        "ampacity service install worker --coordinator host:8786 --token-file worker.token",
        "ampacity service install --dry-run worker     prints the unit",
    ],
)
@_where
@click.option("--run-as", metavar="USER", help="With --system, whose rights it has.")
@click.option("--dry-run", is_flag=True, help="Print the unit, and write nothing.")
def install_command(
    common: Common, role: Role, system: bool | None, run_as: str | None, dry_run: bool
) -> int:
    """Write a unit of systemd for a coordinator or a worker, and say how to start it.

    Without root it is your own service, which ends with your last session unless you have it
    linger. The unit's Type is notify: the service is started when it is ready. Stopping it lets
    running jobs end within the grace, and costs none of them a retry.
    """
    system = os.geteuid() == 0 if system is None else system
    unit = _unit(common.settings, role, system, _run_as(run_as) if system else None)
    path = _folder(system) / unit.name
    if dry_run:
        click.echo(unit.text(), nl=False)
        return Exit.DONE
    _write(path, unit.text())
    after = _commands(unit, system)
    if common.as_json:
        click.echo(dumps({"unit": str(path), "commands": after}))
        return Exit.DONE
    echo_path(path)
    say("to start it, now and whenever the machine starts:")
    for line in after:
        click.echo(f"  {line}", err=True)
    _tell_access(unit)
    return Exit.DONE


@command(
    name="uninstall",
    short_help="Remove a unit.",
    examples=["ampacity service uninstall worker"],
)
@_where
def uninstall_command(common: Common, role: Role, system: bool | None) -> int:
    """Remove the unit of a coordinator or a worker. What they keep on disk stays.

    Stop it before: the line to do that is printed where the unit is not there any more.
    """
    system = os.geteuid() == 0 if system is None else system
    path = _folder(system) / f"ampacity-{role}.service"
    control = _control(system)
    if not path.exists():
        say(f"there is no unit {path}")
        return Exit.NOT_FOUND
    _remove(path)
    after = [f"{control} disable --now {path.name}", f"{control} daemon-reload"]
    if common.as_json:
        click.echo(dumps({"unit": str(path), "commands": after}))
        return Exit.DONE
    echo_path(path)
    say("the unit is removed; if it runs, end it with:")
    for line in after:
        click.echo(f"  {line}", err=True)
    return Exit.DONE


assert isinstance(service_command, click.Group)
service_command.add_command(install_command)
service_command.add_command(uninstall_command)


# -- the unit -------------------------------------------------------------------------------------


def _unit(settings: Settings, role: Role, system: bool, user: str | None) -> Unit:
    own = _COORDINATOR if role == "coordinator" else _WORKER
    _refuse_idle(settings, role, own)
    if role == "worker" and settings["coordinator"] is None and settings["token_file"] is None:
        raise click.UsageError(
            "join what? Give --coordinator host:8786, and the token in a file by --token-file"
        )
    if str(settings["token_file"]) == "-":
        raise click.UsageError("a service has nobody to type its token: name a file")
    if settings.resolve("coordinator").value and "#" in str(settings["coordinator"]):
        raise click.UsageError("a unit can be read by everybody: give the token by --token-file")
    try:
        unit = Unit(
            role=role,
            command=[*_program(), *_words(settings, role, own)],
            system=system,
            user=user,
            environment=_environment(settings),
            jobs=role == "worker" or bool(settings["slots"]),
            grace=settings["grace"] if role == "worker" else 0.0,
        )
        unit.text()  # whether it can be written
    except ValueError as e:
        raise click.UsageError(str(e)) from None
    return unit


def _refuse_idle(settings: Settings, role: Role, own: Sequence[str]) -> None:
    """Flags that the service has no use for are a mistake."""
    for key in {*_COORDINATOR, *_WORKER} - {*own, *_BOTH}:
        found = settings.resolve(key)
        if found.source.startswith("--"):
            raise click.UsageError(f"{found.source} is nothing for a {role}")


def _words(settings: Settings, role: Role, own: Sequence[str]) -> list[str]:
    """What the service is called with: the flags that were given here."""
    words = ["coordinator" if role == "coordinator" else "join"]
    for key in dict.fromkeys([*own, *_BOTH]):
        found = settings.resolve(key)
        if not found.source.startswith("--") or key in _PATHS or key == "coordinator":
            continue
        values = found.value if isinstance(found.value, tuple) else (found.value,)
        for value in values:
            words += [found.source] if value is True else [found.source, _text(value)]
    address = settings["coordinator"] if role == "worker" else None
    return [*words, *([address] if address else [])]


def _text(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _environment(settings: Settings) -> dict[str, str]:
    """Paths as they are seen from here; also those that were given by our own environment."""
    found = {name: settings.resolve(key) for key, name in _PATHS.items()}
    return {
        name: str(Path(one.value).absolute())
        for name, one in found.items()
        if one.source == name or one.source.startswith("--")
    }


def _program() -> list[str]:
    """The words that start this very installation."""
    script = Path(sys.argv[0])
    for found in (script, Path(sys.executable).with_name("ampacity")):
        if found.name == "ampacity" and found.is_file() and os.access(found, os.X_OK):
            return [str(found.absolute())]
    there = shutil.which("ampacity")
    return [there] if there else [sys.executable, "-P", "-m", "ampacity.cli.entry"]


def _run_as(given: str | None) -> str:
    """Whose rights a service of the machine has.

    Raises:
        click.UsageError: nobody is named, or nobody is called that.
    """
    import pwd

    name = given or os.environ.get("SUDO_USER")
    if not name:
        raise click.UsageError(
            "--run-as USER says whose rights the service has, and so its jobs; a user of its own: "
            "useradd --system --home-dir /var/lib/ampacity ampacity"
        )
    try:
        pwd.getpwnam(name)
    except KeyError:
        raise click.UsageError(f"--run-as {name}: there is no such user here") from None
    return name


# -- files and words ------------------------------------------------------------------------------


def _folder(system: bool) -> Path:
    if system:
        return SYSTEM_UNITS
    config = os.environ.get("XDG_CONFIG_HOME")
    return (Path(config) if config else Path.home() / ".config") / "systemd" / "user"


def _write(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    except OSError as e:
        raise click.UsageError(f"{path} cannot be written: {e.strerror}{_rights(path)}") from None


def _remove(path: Path) -> None:
    try:
        path.unlink()
    except OSError as e:
        raise click.UsageError(f"{path} cannot be removed: {e.strerror}{_rights(path)}") from None


def _rights(path: Path) -> str:
    return "; it takes root, or --user" if path.parent == SYSTEM_UNITS else ""


def _control(system: bool) -> str:
    return "systemctl" if system else "systemctl --user"


def _commands(unit: Unit, system: bool) -> list[str]:
    control = _control(system)
    lines = [f"{control} daemon-reload", f"{control} enable --now {unit.name}"]
    return lines if system else [*lines, "loginctl enable-linger"]


def _tell_access(unit: Unit) -> None:
    """How its user's commands find a coordinator of the machine."""
    access = unit.environment.get("AMPACITY_ACCESS", "/run/ampacity")
    if unit.system and unit.role == "coordinator":
        say(
            f"{unit.user} reaches it with: AMPACITY_ACCESS={access} ampacity workers; for good: "
            f'access = "{access}" in /etc/ampacity/config.toml'
        )
