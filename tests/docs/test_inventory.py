"""Every block of the documentation comes from a run or from a file that runs, or says why not.

``shown.py`` and ``terminals.py`` tell how a block says where it comes from. All others are in one
of the lists below, by their first lines, each with what stands in for a run of it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from ampacity.tests.docs import shown, terminals

PAGES = [shown.ROOT / "README.md", *sorted((shown.ROOT / "docs").rglob("*.md"))]

BLOCK = re.compile(
    r"(?:^ *<!-- (?P<said>from|output|session): [^\n]* -->\n)?"
    r"^(?P<indent> *)(?P<fence>```+|:::+|~~~+)(?P<kind>[^\n]*)\n"
    r"(?P<text>.*?)^(?P=indent)(?P=fence) *$",
    re.M | re.S,
)

MARKUP = re.compile(r"\{(toctree|admonition|eval-rst|include)\}")
"""What Sphinx reads: it makes tables of contents and pages from docstrings, and shows no code."""

STARTS_THE_PROGRAM_BELOW = (
    "python blocking.py",
    "python off_the_loop.py",
    "python deferreds.py",
    "python reactor_loop.py",
    "python threads.py",
    "python callbacks.py",
    "python threads.py wait",
    "python threads.py count",
    "python reactor_loop.py watch",
    "python mistakes.py",
    "python four_ways.py await",
    "python trouble.py",
    "python million.py come 1000000",
    "python million.py slow",
    "python unplug.py",
    "python test_porter.py",
    "python klein_service.py &",
    "python web_service.py &",
    "python -m http.server --bind 127.0.0.1 --directory site 8000 &",
    "pytest -q test_gallery.py",
    "PYTHONPATH=. trial test_gallery_trial",
    "PYTHONPATH=. twistd --nodaemon --python mill.tac",
)
"""How a reader starts what a test starts in its own way; the block behind it is what it prints, or
the page's test looks at that."""

OTHERWISE = {
    "README.md": {
        "make demo     # a cluster": "sets all up, and then runs for half a minute",
        "  jobs                    800": "the end of `make demo`: tests/docs/test_reports.py",
        "from ampacity import Pool": "tests/system/test_readme.py runs it",
        "[18446744073709551616": "tests/system/test_readme.py compares it",
        "ampacity coordinator --listen": "docs/howto/deployment.md plays these lines",
        "account      10000 submitted": "ten minutes of `make faults`; tests/docs/test_reports.py",
    },
    "docs/explanation/architecture.md": {" client_session ─┐": "a drawing"},
    "docs/explanation/faults.md": {
        "ampacity chaos  ": "minutes of faults; tests/faults holds its parts, the lines are parsed",
        "500 jobs, 3 workers": "a minute of faults; held by tests/docs/test_reports.py",
    },
    "docs/explanation/performance.md": {"$ make bench ": "minutes of measuring"},
    "docs/howto/containers.md": {"$ docker compose up": "tests/compose, where there is Docker"},
    "docs/howto/deployment.md": {"retain_age = ": "parsed by test_reference.py"},
    "docs/howto/kubernetes.md": {"   kubectl exec": "there was no cluster; the page says so"},
    "docs/howto/loopwatch.md": {"from ampacity import LoopWatch": "two lines of the program"},
    "docs/howto/slurm.md": {
        "   ampacity coordinator --listen": "there was no Slurm; the page says so",
    },
    "docs/howto/systemd.md": {
        "ampacity service install": "changes the machine; tests/unit/cli/test_units.py",
        "twist --reactor=asyncio": "tests/system/test_wheel.py runs both services so",
    },
    "docs/howto/wrong-python.md": {"$ ampacity job 17": "takes two versions of Python"},
    "docs/reference/configuration.md": {"coordinator = ": "parsed by test_reference.py"},
    "docs/reference/protocol.md": {
        "amp1.<role>.": "a format",
        "who connects  ": "a drawing",
    },
    "docs/tutorial/index.md": {
        "pip install ampacity": "installs a package",
        "printf 'ada": "the tests of the chapters deliver the same mail",
    },
}
"""Pages, first lines of blocks, and what stands in for running them."""


def unsaid(page: Path) -> Iterator[tuple[str, str]]:
    """The first lines and kinds of the blocks that do not say where they come from."""
    for block in BLOCK.finditer(page.read_text()):
        if not block["said"] and not MARKUP.match(block["kind"].strip()):
            yield block["text"].partition("\n")[0], block["kind"]


def name_of(page: Path) -> str:
    return str(page.relative_to(shown.ROOT))


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_block_is_run_or_says_why_not(page: Path) -> None:
    listed = (*OTHERWISE.get(name_of(page), ()), *STARTS_THE_PROGRAM_BELOW)
    assert [line for line, _ in unsaid(page) if not line.startswith(listed)] == []


def test_the_lists_name_nothing_that_is_gone() -> None:
    lines = {name_of(page): [line for line, _ in unsaid(page)] for page in PAGES}
    gone = [
        (page, start)
        for page, starts in OTHERWISE.items()
        for start in starts
        if not any(line.startswith(start) for line in lines[page])
    ]
    assert gone == []
    everywhere = [line for found in lines.values() for line in found]
    assert [line for line in STARTS_THE_PROGRAM_BELOW if line not in everywhere] == []


def test_the_files_that_the_list_names_are_there() -> None:
    reasons = " ".join(reason for starts in OTHERWISE.values() for reason in starts.values())
    named = re.findall(r"(?:tests|docs)/[\w/]+(?:\.\w+)?", reasons)
    assert [name for name in named if not (shown.ROOT / name).exists()] == []


def test_nearly_all_of_them_are_run() -> None:
    blocks = [block for page in PAGES for block in BLOCK.finditer(page.read_text())]
    said = [block for block in blocks if block["said"]]
    assert len(said) > 150
    assert len(said) > 6 * sum(len(starts) for starts in OTHERWISE.values())


def test_what_is_said_is_understood() -> None:
    """A comment with a slip of the pen would be no session, and would never be played."""
    for page in PAGES:
        text = page.read_text()
        understood = len(shown.codes([page])) + len(shown.outputs([page]))
        understood += sum(len(session.blocks) for session in terminals.sessions([page]))
        assert len(re.findall(r"^ *<!-- (?:from|output|session): ", text, re.M)) == understood, page
