"""Every command line of ampacity that a page names is one that ampacity understands.

Those in sessions are not looked at: they are played (see ``terminals.py``).
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from ampacity.cli.tree import tree
from ampacity.tests.docs import shown

PAGES = [shown.ROOT / "README.md", *sorted((shown.ROOT / "docs").rglob("*.md"))]

IN_A_BLOCK = re.compile(r"^(?:\w*\$ |[\w.: -]*\| )?(?:sudo )?ampacity ((?:.*\\\n)*.*)$", re.M)
PLAYED = re.compile(r"<!-- session: [^\n]*\n```console\n.*?^```", re.M | re.S)
IN_A_LINE = re.compile(r"`ampacity ([^`]+)`")
ENDS = {"|", "||", "&", "&&", ";", ";;", ">", ">>", "<", "2>", "2>&1", ")"}
"""Where the shell takes over."""


def command_lines(page: Path) -> Iterator[tuple[str, bool]]:
    """All of them, and whether it is a line to be typed, and not a command's name in a sentence."""
    text = PLAYED.sub("", page.read_text())
    blocks = re.compile(r"^ *```[\w{}]*\n(.*?)^ *```", re.M | re.S)
    for block in blocks.finditer(text):
        for found in IN_A_BLOCK.finditer(re.sub(r"^ +", "", block[1], flags=re.M)):
            yield found[1], True
    for found in IN_A_LINE.finditer(blocks.sub("", text)):
        yield found[1].replace("\n", " "), False


def words_of(line: str) -> list[str]:
    """The words for ampacity, without a comment and what the shell does with the rest."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    words: list[str] = []
    for word in lexer:
        if word in ENDS or word.startswith("#"):
            break
        words.append(word)
    return words


SHOWN = sorted({(page.name, *line) for page in PAGES for line in command_lines(page)})


@pytest.mark.parametrize(("page", "line", "whole"), SHOWN)
def test_a_command_line_is_understood(page: str, line: str, whole: bool) -> None:
    words = words_of(line)
    if not words or words[0] in ("COMMAND", "…") or words[0][0].isdigit():
        return
    try:
        context = tree.make_context("ampacity", words)
        understood(tree, context, [*context._protected_args, *context.args])
    except click.exceptions.Exit as ended:  # --help, --version
        assert ended.exit_code == 0
    except (click.MissingParameter, click.BadOptionUsage):
        assert not whole


def understood(group: click.Group, context: click.Context, words: list[str]) -> None:
    name, command, rest = group.resolve_command(context, words)
    assert name is not None and command is not None
    inner = command.make_context(name, rest, parent=context)
    if isinstance(command, click.Group) and (further := [*inner._protected_args, *inner.args]):
        understood(command, inner, further)


def test_there_are_many_of_them() -> None:
    assert len(SHOWN) > 70
