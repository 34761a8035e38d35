"""The reference pages say what the code says."""

from __future__ import annotations

import re
import tomllib

import ampacity
import ampacity.blocking
import pytest
from ampacity.cli import top
from ampacity.cli.settings import BY_KEY, TABLE, Setting
from ampacity.docs import tables
from ampacity.docs.pictures import draw
from ampacity.tests.docs import shown

REFERENCE = shown.ROOT / "docs" / "reference"
FOLDERS = ("cli", "client", "coordinator", "protocol", "workers")
SOURCES = [path for name in FOLDERS for path in (shown.ROOT / name).rglob("*.py")]


@pytest.mark.parametrize("name", ["configuration", "errors"])
def test_tables_are_those_of_the_code(name: str) -> None:
    """``python -m ampacity.docs.tables`` writes them anew."""
    text = (REFERENCE / f"{name}.md").read_text()
    assert "<!-- table: " in text
    assert tables.filled(text) == text


def test_every_table_has_its_place() -> None:
    pages = "".join(page.read_text() for page in REFERENCE.glob("*.md"))
    assert sorted(re.findall(r"<!-- table: (\w+) -->", pages)) == sorted(tables.TABLES)
    assert pages.count("<!-- end of table -->") == len(tables.TABLES)


@pytest.mark.parametrize("setting", TABLE, ids=lambda setting: setting.key)
def test_every_setting_is_described(setting: Setting) -> None:
    assert f"| `{setting.key}` |" in (REFERENCE / "configuration.md").read_text()


@pytest.mark.parametrize("error", tables.all_errors(), ids=lambda error: error.__name__)
def test_every_error_is_described(error: type[Exception]) -> None:
    assert f"`{error.__name__}` |" in (REFERENCE / "errors.md").read_text()


def test_every_variable_of_the_environment_is_there() -> None:
    read = {
        name for path in SOURCES for name in re.findall(r"_?AMPACITY_[A-Z_]+", path.read_text())
    }
    settings = {setting.variable for setting in TABLE}
    page = (REFERENCE / "configuration.md").read_text()
    assert {name for name in read - settings if f"`{name}`" not in page} <= {"AMPACITY_NAME"}


@pytest.mark.parametrize("name", ampacity.__all__)
def test_every_public_name_is_described(name: str) -> None:
    pages = (REFERENCE / "python.md").read_text() + (REFERENCE / "errors.md").read_text()
    assert re.search(rf"^\.\. auto\w+:: {name}(\(\))?$", pages, re.M)


@pytest.mark.parametrize("name", ampacity.blocking.__all__)
def test_every_name_for_blocking_programs_is_described(name: str) -> None:
    _, _, part = (REFERENCE / "python.md").read_text().partition("automodule:: ampacity.blocking")
    assert re.search(rf"^\.\. autoclass:: {name}(\(\))?$", part, re.M)


@pytest.mark.parametrize("name", draw.PICTURES)
def test_pictures_are_those_of_the_code(name: str) -> None:
    """``python -m ampacity.docs.pictures.draw`` draws them anew."""
    assert (draw.FOLDER / name).read_text() == draw.PICTURES[name]()


def test_the_picture_of_top_shows_what_top_shows() -> None:
    """``python -m ampacity.docs.pictures.top`` makes it anew."""
    text = " ".join(re.sub(r"<[^>]+>|&#160;", " ", (draw.FOLDER / "top.svg").read_text()).split())
    status = {"slots": 1, "busy": 1, "workers": 1, "rate": 1.0, "queued": 0, "running": 0}
    facts = top._facts({**status, "started": 0.0}, 0.0)
    names = [fact.plain[: fact.spans[0].end].strip() for fact in facts]
    for words in [*names, *(heading.lstrip(">") for heading in top._WORKERS)]:
        assert f" {words} " in text, words


def test_every_shown_config_is_one() -> None:
    pages = [path.read_text() for path in (shown.ROOT / "docs").rglob("*.md")]
    found = [
        tomllib.loads(b) for page in pages for b in re.findall(r"```toml\n(.*?)```", page, re.S)
    ]
    assert len(found) >= 2
    for key, value in (item for values in found for item in values.items()):
        BY_KEY[key].parse(str(value))
