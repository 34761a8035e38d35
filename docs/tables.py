"""The tables of the reference pages that are made from the code.

A page holds each between ``<!-- table: NAME -->`` and ``<!-- end of table -->``.
``python -m ampacity.docs.tables`` writes them anew; a test fails while a page differs.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from ..cli import failures, settings
from ..protocol import commands, errors

PAGES = Path(__file__).parent / "reference"

_PLACE = re.compile(
    r"(?P<before><!-- table: (?P<name>\w+) -->\n).*?(?P<after><!-- end of table -->)", re.S
)


def filled(text: str) -> str:
    """A page's text with its tables as the code has them now."""

    def table(found: re.Match[str]) -> str:
        return "".join(
            [found["before"], *(f"{row}\n" for row in TABLES[found["name"]]()), found["after"]]
        )

    return _PLACE.sub(table, text)


def write() -> None:
    """Put the tables into all pages that have a place for one."""
    for page in sorted(PAGES.glob("*.md")):
        text = page.read_text()
        if (new := filled(text)) != text:
            page.write_text(new)
            print(page, file=sys.stderr)


def _rows(head: Iterable[str], rows: Iterable[Iterable[str]]) -> list[str]:
    names = list(head)
    lines = [names, ["---"] * len(names), *map(list, rows)]
    return ["| " + " | ".join(line) + " |" for line in lines]


# -- settings -------------------------------------------------------------------------------------


def _settings(with_flag: bool) -> list[str]:
    rows = (
        [f"`{one.key}`", shown_default(one), one.help]
        for one in settings.TABLE
        if (one.flag and not one.secret) is with_flag
    )
    return _rows(("setting", "default", "what it says"), rows)


def shown_default(setting: settings.Setting) -> str:
    """A default as config.toml would have it; nothing where the help text tells it."""
    value: Any = setting.default
    if value is None or value == ():
        return ""
    if setting.parse is settings.size:
        return f'`"{_largest(value, {"GiB": 1 << 30, "MiB": 1 << 20, "KiB": 1 << 10})}"`'
    if setting.parse is settings.duration:
        return f'`"{_largest(int(value), {"d": 86400, "h": 3600, "s": 1})}"`'
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return f"`{value:_}`" if isinstance(value, int) else f'`"{value}"`'


def _largest(number: int, units: dict[str, int]) -> str:
    unit = next(name for name, size in units.items() if number % size == 0)
    return f"{number // units[unit]}{unit}"


# -- errors ---------------------------------------------------------------------------------------


def _tree(base: type[Exception], depth: int = 0) -> Iterable[tuple[type[Exception], int]]:
    """The errors below one, as they stand in the file, with their depth in the tree."""
    for error in vars(errors).values():
        if isinstance(error, type) and error.__bases__[0] is base:
            yield error, depth
            yield from _tree(error, depth + 1)


def all_errors() -> list[type[Exception]]:
    """Those of the table."""
    return [error for error, _ in _tree(errors.AmpacityError)]


def wire_code(error: type[Exception]) -> str | None:
    """The name of an error between peers, if it has one."""
    for command in vars(commands).values():
        code = getattr(command, "errors", {}).get(error) if isinstance(command, type) else None
        if code is not None:
            return str(code.decode())
    return None


def _exit_code(error: type[Exception]) -> str:
    if issubclass(error, errors.JobError | errors.JobsFailed):
        known = failures.Exit.REFUSED if error is errors.ForeignResult else 1
        return str(int(known))
    return next((str(int(e)) for kind, e in failures._CODES if issubclass(error, kind)), "")


def _errors() -> list[str]:
    rows = []
    for error, depth in _tree(errors.AmpacityError):
        code = wire_code(error)
        words = " ".join((error.__doc__ or "").split("\n\n")[0].split())
        name = "&emsp;" * depth + f"`{error.__name__}`"
        rows.append([name, f"`{code}`" if code else "", _exit_code(error), words])
    return _rows(("error", "between peers", "exit code", "meaning"), rows)


def _exit_codes() -> list[str]:
    words = {
        failures.Exit.DONE: "done",
        failures.Exit.JOB_FAILED: "a job did not succeed",
        failures.Exit.USAGE: "the command line cannot be used",
        failures.Exit.NO_COORDINATOR: "no coordinator, or it went away and did not come back",
        failures.Exit.REFUSED: "refused: a token, a folder, a full queue or disk",
        failures.Exit.NOT_FOUND: "there is no such job, group, worker or token",
        failures.Exit.WAIT_TIMED_OUT: "`wait` took too long",
        failures.Exit.OURSELVES: "a failure of ampacity itself",
        failures.Exit.INTERRUPTED: "interrupted",
        failures.Exit.BROKEN_PIPE: "who read the output has gone",
    }
    return _rows(("exit code", "meaning"), ([str(int(e)), words[e]] for e in failures.Exit))


TABLES: dict[str, Callable[[], list[str]]] = {
    "settings_with_flags": lambda: _settings(with_flag=True),
    "settings_of_files": lambda: _settings(with_flag=False),
    "errors": _errors,
    "exit_codes": _exit_codes,
}


if __name__ == "__main__":
    write()
