"""The options that run, submit and map share, and the job spec that they make."""

from __future__ import annotations

import builtins
import os
import re
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from ..protocol.jobs import JobSpec
from .arguments import MODES, Mode, Words, check_target, keywords
from .rendering import harmless
from .settings import duration

if TYPE_CHECKING:
    from .connection import Link


class Duration(click.ParamType):  # type: ignore[type-arg]  # generic in new releases only
    """A flag's length of time, in seconds."""

    name = "time"

    def convert(self, value: Any, param: Any, ctx: Any) -> float:
        if isinstance(value, float):
            return value
        try:
            seconds = duration(value)
        except ValueError as e:
            self.fail(f"{value!r:.40}: {e}", param, ctx)
        if seconds <= 0:
            self.fail("it must be longer than nothing", param, ctx)
        return seconds


DURATION = Duration()

_OPTIONS = (
    click.option("--kw", metavar="NAME=VALUE", multiple=True, help="A keyword argument."),
    click.option(
        "--args",
        "mode",
        type=click.Choice(MODES),
        default="auto",
        help="Arguments are JSON where they parse as it, else text (auto); or always the one.",
    ),
    click.option("--name", "job_name", metavar="TEXT", help="What lists call the job."),
    click.option("--timeout", type=DURATION, help="How long an attempt may run."),
    click.option("--deadline", type=DURATION, help="The same with the time in the queue."),
    click.option(
        "--env", metavar="NAME[=VALUE]", multiple=True, help="A variable; alone: as it is here."
    ),
    click.option(
        "--retries",
        type=click.IntRange(0),
        default=0,
        help="How often to run again what failed or timed out.",
    ),
    click.option(
        "--retry-on",
        metavar="ERROR",
        multiple=True,
        help="Only after this error, as ValueError or module.Error; default: any.",
    ),
    click.option(
        "--backoff",
        type=DURATION,
        help="Before the first retry, then twice as long each time; default: 1s.",
    ),
    click.option(
        "--max-losses",
        type=click.IntRange(0),
        help="How often to run again after the death of a process or a machine; default: 2.",
    ),
    click.option(
        "--ship", metavar="MODULE", multiple=True, help="Send a module of yours with the job."
    ),
)


def job_options(function: Any) -> Any:
    """Decorate a command with the options of jobs."""
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


class Wanted:
    """What one command line asks to be run, checked before anything is connected."""

    def __init__(self, words: Words, options: Mapping[str, Any]) -> None:
        if not words.words:
            raise click.UsageError(
                "what shall run? A function, module:function, or a command after --"
            )
        if words.command and options["kw"]:
            raise click.UsageError("--kw gives arguments to functions; this is a command")
        self.command = words.command
        self.words = words.words
        self.mode: Mode = options["mode"]
        self.kwargs = keywords(options["kw"], self.mode)
        self.target = (
            harmless(" ".join(self.words)) if self.command else check_target(self.words[0])
        )
        self.fixed = self.words if self.command else self.words[1:]
        self._options = options
        self._environment = tuple(variable(text) for text in options["env"])
        self._checked = self._checked_options()
        self._again = _again(options)

    def _checked_options(self) -> dict[str, Any]:
        from ..client.options import Options

        given = {key: self._options[key] for key in ("timeout", "deadline", "cwd")}
        name = self._options["job_name"]
        checked = Options().with_({**given, "name": name, "env": dict(self._environment)})
        return {
            "timeout": checked.timeout,
            "deadline": checked.deadline,
            "cwd": checked.cwd,
            "name": checked.name,
            "env": checked.env,
        }

    def spec(self, link: Link, attach: bool = False) -> JobSpec:
        """The spec; the shipped modules go with the jobs of this link."""
        from ..workers import machine

        ships = [link.ship(_packed(name)) for name in self._options["ship"]]
        return JobSpec(
            kind="command" if self.command else "import",
            target=self.target[:1000],
            arguments="json",
            show="full",
            host=machine.identity(),
            folder=_here(),
            ships=tuple(ships),
            attach=attach,
            **self._checked,
            **self._again,
        )


def _again(options: Mapping[str, Any]) -> dict[str, Any]:
    """The spec's fields that say when a job runs again."""
    errors = tuple(error_name(text) for text in options["retry_on"])
    if not options["retries"]:
        for name in ("retry_on", "backoff"):
            if options[name]:
                flag = "--" + name.replace("_", "-")
                raise click.UsageError(f"{flag} says how to retry: give --retries, too")
    return {
        "retries": options["retries"],
        "retry_on": errors or None,
        "backoff": 1.0 if options["backoff"] is None else options["backoff"],
        "max_losses": options["max_losses"],
    }


_DOTTED = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)+")


def error_name(text: str) -> str:
    """An error's class as specs name it, ``module.Class``; a built-in one needs no module.

    Raises:
        click.UsageError: it is no such name.
    """
    if _DOTTED.fullmatch(text):
        return text
    found = getattr(builtins, text, None)
    if isinstance(found, type) and issubclass(found, BaseException):
        return f"{found.__module__}.{found.__qualname__}"
    raise click.UsageError(
        f"--retry-on {text!r:.60}: an error is written ValueError, if it is built in, else with "
        "its module, as requests.exceptions.Timeout"
    )


def _here() -> str | None:
    try:
        return os.getcwd()  # noqa: PTH109  # a text is wanted
    except FileNotFoundError:
        return None


def variable(text: str) -> tuple[str, str]:
    """``NAME=VALUE``, or ``NAME`` with its value from here.

    Raises:
        click.UsageError: there is no such variable here.
    """
    name, equals, value = text.partition("=")
    if not name:
        raise click.UsageError(f"--env takes NAME=VALUE or NAME, not {text!r:.80}")
    if equals:
        return name, value
    if name not in os.environ:
        raise click.UsageError(f"--env {name}: there is no such variable here; give {name}=VALUE")
    return name, os.environ[name]


def _packed(name: str) -> bytes:
    """A module's packed sources; it is imported here for that, as ``python -m`` would find it."""
    from ..client.ships import pack_module

    here = _here()
    if here is not None and here not in sys.path:
        sys.path.insert(0, here)
    try:
        return pack_module(name)
    except ImportError as e:
        raise click.UsageError(f"--ship {name}: it cannot be imported here: {e}") from None
