"""The papers of the house agree with the code."""

from __future__ import annotations

import ast
import re
import tomllib
from pathlib import Path

import ampacity
import pytest
from ampacity.cli.bounds import FIELDS
from ampacity.coordinator.settings import Settings
from ampacity.protocol import commands, errors, limits, outcomes
from twisted.protocols import amp

ROOT = Path(ampacity.__file__).parent
REFERENCE = ROOT / "docs" / "reference"
PROTOCOL_PAGE = (REFERENCE / "protocol.md").read_text()
LIMITS_PAGE = (REFERENCE / "limits.md").read_text()
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
CODE_FOLDERS = ("protocol", "coordinator", "workers", "client", "cli", "testing")
SOURCES = sorted(
    [*ROOT.glob("*.py"), *(path for name in CODE_FOLDERS for path in (ROOT / name).rglob("*.py"))]
)

COMMANDS = [
    command
    for command in vars(commands).values()
    if isinstance(command, type)
    and issubclass(command, amp.Command)
    and command.__module__ == commands.__name__
    and not command.__name__.startswith("_")
]
ERRORS = [
    error
    for error in vars(errors).values()
    if isinstance(error, type) and issubclass(error, errors.AmpacityError)
]
LIMITS = {name: value for name, value in vars(limits).items() if name.isupper()}
BOUNDS = {key: field for key, field in FIELDS.items() if "_age" not in key and "_un" not in key}
QUESTIONS = ["status", "workers", "jobs", "job", "result", "group", "groups", "select"]


def section(heading: str, page: str = PROTOCOL_PAGE) -> str:
    """The text of a page under a heading, up to the next one."""
    found = re.search(rf"^#+ `?{heading}`?\n(.*?)(?=^#|\Z)", page, re.M | re.S)
    assert found, f"the page has no heading for {heading}"
    return found.group(1)


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.__name__)
def test_every_command_is_described_with_its_fields_and_errors(command: type[amp.Command]) -> None:
    text = section(command.__name__)
    for name, _type in [*command.arguments, *command.response]:
        assert f"`{name.decode()}`" in text, f"{command.__name__}: {name.decode()}"
    for code in command.errors.values():
        if code not in commands._ALWAYS.values():
            assert f"`{code.decode()}`" in text, f"{command.__name__}: {code.decode()}"


def test_the_errors_of_all_commands_are_described() -> None:
    for code in commands._ALWAYS.values():
        assert f"`{code.decode()}`" in PROTOCOL_PAGE


@pytest.mark.parametrize("name", LIMITS)
def test_every_limit_is_listed_with_its_value(name: str) -> None:
    row = re.search(rf"^\| `{name}` \| ([^|]+) \|", LIMITS_PAGE, re.M)
    assert row, f"docs/reference/limits.md does not list {name}"
    assert amount(row.group(1)) == LIMITS[name]


@pytest.mark.parametrize("name", BOUNDS)
def test_every_bound_of_a_coordinator_is_listed_with_its_default(name: str) -> None:
    text = section("What a coordinator sets", LIMITS_PAGE)
    row = re.search(rf"^\| `{name}` \| ([^|]+) \|", text, re.M)
    assert row, f"docs/reference/limits.md does not list {name}"
    default = getattr(Settings(), BOUNDS[name])
    assert (amount(row.group(1)) if default is not None else row.group(1)) == (default or "half")


def amount(text: str) -> float:
    """``64 KiB`` or ``5 s`` as a number."""
    number, _, unit = text.strip().partition(" ")
    return float(number.replace(",", "")) * {"KiB": 2**10, "MiB": 2**20, "GiB": 2**30}.get(unit, 1)


@pytest.mark.parametrize("question", QUESTIONS)
def test_every_question_is_described(question: str) -> None:
    assert section(question)


def test_every_ending_is_described() -> None:
    for ending in outcomes.Ending:
        assert f"| {int(ending)} | {ending.words} |" in PROTOCOL_PAGE


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for target, anchor in re.findall(r"\]\(([^)#\s]*)(?:#([^)]*))?\)", without_code(page)):
        if "://" in target:
            continue
        led_to = page.parent / target if target else page
        assert led_to.exists(), f"{page.name}: {target}"
        if anchor:
            assert anchor in anchors(led_to), f"{page.name}: {target}#{anchor}"


def without_code(page: Path) -> str:
    """The text of a page without its blocks of code."""
    return re.sub(r"^```.*?^```", "", page.read_text(), flags=re.M | re.S)


def anchors(page: Path) -> set[str]:
    """The headings of a page as links name them."""
    headings = re.findall(r"^#+ (.*)$", without_code(page), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_version_stands_everywhere_alike() -> None:
    assert PROJECT["project"]["version"] == ampacity.__version__
    assert f"## {ampacity.__version__}" in (ROOT / "CHANGELOG.md").read_text()


def test_every_package_is_in_the_image() -> None:
    """What ``.dockerignore`` does not name is not there when the image is built."""
    there = set((ROOT / ".dockerignore").read_text().split())
    packages = PROJECT["tool"]["setuptools"]["packages"]
    folders = {name.removeprefix("ampacity.").partition(".")[0] for name in packages}
    assert {f"!{folder}" for folder in folders - {"ampacity"}} <= there


def test_every_package_is_in_the_wheel() -> None:
    folders = {path.parent for path in SOURCES if path.name == "__init__.py"} - {ROOT}
    packages = {"ampacity"} | {f"ampacity.{'.'.join(f.relative_to(ROOT).parts)}" for f in folders}
    assert packages == set(PROJECT["tool"]["setuptools"]["packages"]) - {"twisted.plugins"}


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file_is_one_room(path: Path) -> None:
    text = path.read_text()
    assert len(text.splitlines()) <= 400
    assert not text.strip() or ast.get_docstring(ast.parse(text)), "it does not say what it is"


def test_every_make_target_of_the_pages_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M))
    for page in PAGES:
        for target in re.findall(r"`make ([a-z-]+)", page.read_text()):
            assert target in targets, f"{page.name}: make {target}"


def test_decisions_are_numbered_without_a_gap() -> None:
    pages = (ROOT / "docs" / "explanation" / "decisions").glob("[0-9]*.md")
    numbers = sorted(int(page.name[:4]) for page in pages)
    assert numbers == list(range(1, len(numbers) + 1))


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: error.__name__)
def test_every_error_says_something_by_default(error: type[errors.AmpacityError]) -> None:
    first = (error.__doc__ or "").strip().splitlines()[0]
    assert first.endswith(".")
