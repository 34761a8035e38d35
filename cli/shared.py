"""What every command takes: the global options, the settings behind them, JSON or not."""

from __future__ import annotations

import inspect
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem

from .arguments import Words, split
from .rendering import harmless
from .selectors import FORMS
from .settings import Settings, options

_GLOBAL = ("coordinator", "token_file", "access", "log_level", "log_format")


class Common:
    """The global options of one command line, given before or after the command's name."""

    whose: str | None = None
    """The client whose jobs are meant, or ``*``; none: one's own. See ``scopes``."""

    def __init__(self, settings: Settings, as_json: bool) -> None:
        self.settings = settings
        self.as_json = as_json

    @classmethod
    def of_group(cls, flags: Mapping[str, Any], as_json: bool) -> Common:
        """What stood before the command's name."""
        return cls(Settings(flags), as_json)

    def over(self, flags: Mapping[str, Any], as_json: bool) -> Common:
        """With what stood after it."""
        return Common(self.settings.over(flags), self.as_json or as_json)


def command(*keys: str, **attributes: Any) -> Callable[[Callable[..., int]], click.Command]:
    """A click command whose function gets ``common`` and its own parameters.

    ``keys`` are the settings that it has flags for, besides the global ones. ``examples`` go into
    its help text, with ``selects`` also what a selector is.
    """
    examples = attributes.pop("examples")
    note = f"\n\nSEL is {FORMS}." if attributes.pop("selects", False) else ""
    attributes["epilog"] = "\b\nExamples:\n" + "\n".join(f"  {line}" for line in examples)
    attributes.setdefault("cls", click.Command)

    def decorate(function: Callable[..., int]) -> click.Command:
        def called(as_json: bool, **given: Any) -> int:
            flags = {key: given.pop(key) for key in (*keys, *_GLOBAL)}
            common = click.get_current_context().find_object(Common) or Common(Settings(), False)
            return function(common=common.over(flags, as_json), **given)

        # click turns the list round: what is put in first comes last in the help text
        called.__click_params__ = []  # type: ignore[attr-defined]  # click's own way
        decorated = options(*_GLOBAL)(called)
        decorated = click.option("--json", "as_json", is_flag=True, help="Print JSON.")(decorated)
        decorated = options(*keys)(decorated)
        decorated.__click_params__ += getattr(function, "__click_params__", [])
        text = inspect.cleandoc(function.__doc__ or "") + note
        make: Callable[[Any], click.Command] = click.command(help=text, **attributes)
        return make(decorated)

    return decorate


class WordsCommand(click.Command):
    """A command that ends in the job's own words; they are kept from click's parser.

    ``ctx.meta["words"]`` holds them as ``arguments.Words``.
    """

    takes_items = False

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        taken = split(args, self._valued(ctx), self.takes_items)
        ctx.meta["words"] = taken
        return super().parse_args(ctx, taken.options)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Our options before the target; after it, names of files, for a shell knows no more."""
        taken: Words = ctx.meta["words"]
        if taken.words or taken.command or taken.items is not None:
            return [CompletionItem(incomplete, type="file")]
        return super().shell_complete(ctx, incomplete)

    def misplaced(self, ctx: click.Context) -> list[str]:
        """Options of ours that stand after the target of a function, and so went to the job."""
        ours = {name for option in self.get_params(ctx) for name in option.opts}
        taken: Words = ctx.meta["words"]
        after = [] if taken.command else taken.words[1:]
        return [word for word in after if word.partition("=")[0] in ours and word.startswith("--")]

    def collect_usage_pieces(self, ctx: click.Context) -> list[str]:
        target = "{MODULE:FUNCTION [ARGUMENT]... | -- COMMAND...}"
        items = ["[::: ITEM...]"] if self.takes_items else []
        return [*super().collect_usage_pieces(ctx), target, *items]

    def _valued(self, ctx: click.Context) -> set[str]:
        return {
            name
            for parameter in self.get_params(ctx)
            if isinstance(parameter, click.Option) and not parameter.is_flag
            for name in parameter.opts
        }


class ItemsCommand(WordsCommand):
    """The same with items after ``:::``."""

    takes_items = True


def misplaced() -> str | None:
    """What to say of options that went to a job which has failed; None where there are none."""
    ctx = click.get_current_context()
    assert isinstance(ctx.command, WordsCommand)
    found = ctx.command.misplaced(ctx)
    if not found:
        return None
    it = f"{found[0]} is an option of {ctx.command_path}, but"
    return f"{it} after the target all words are the job's; options come before it"


def words() -> Words:
    """The words of the command that runs."""
    taken: Words = click.get_current_context().meta["words"]
    return taken


def echo_path(path: Path) -> None:
    """A path as data on stdout: byte by byte, but on a terminal, where it is made harmless."""
    click.echo(harmless(str(path)) if on_terminal(1) else os.fsencode(path))


def on_terminal(stream: int) -> bool:
    """Whether stdout (1) or stderr (2) is a terminal."""
    return (sys.stdout if stream == 1 else sys.stderr).isatty()
