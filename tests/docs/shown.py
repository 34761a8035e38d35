"""What pages show is what stands in files, and what programs print.

A page says above a block where it comes from, in a comment that readers do not see:

``<!-- from: examples/tutorial/blocking.py -->``
    before a block of code: it stands in that file, word for word.
``<!-- output: blocking.py wait (in any order) -->``
    before a block ``text``: the program and its words, and in brackets what is to be known about
    the output, several things with commas. The test of the page runs the program.
``<!-- session: NAME -->``
    before a block ``console``: see ``terminals.py``.

A test module takes the blocks of its pages, runs what they name, and compares. With SHOWN=write in
the environment, what was printed is written into the page instead: so outputs are captured. Look at
the difference before it is committed.
"""

from __future__ import annotations

import difflib
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import ampacity
import attrs

ROOT = Path(ampacity.__file__).parent
"""The repository."""

WRITING = os.environ.get("SHOWN") == "write"
"""Whether pages are to be changed, and not tested."""

_CODE = re.compile(r"<!-- from: (?P<source>\S+) -->\n```(?P<kind>\w+)\n(?P<text>.*?)```", re.S)
_OUTPUT = re.compile(
    r"<!-- output: (?P<words>[^(\n]+?)(?: \((?P<notes>[^)\n]*)\))? -->\n"
    r"```text\n(?P<text>.*?)```",
    re.S,
)


@attrs.frozen
class Code:
    """Code in a page, and the file in which it stands (from the repository's root)."""

    page: Path
    source: str
    kind: str
    text: str

    def __str__(self) -> str:
        return f"{self.page.stem}-{Path(self.source).name}-{self.text[:20]!r}"

    def check(self) -> None:
        """Fail if the file does not hold this, word for word."""
        assert self.text in (ROOT / self.source).read_text(), f"{self.page}: not in {self.source}"


@attrs.frozen
class Output:
    """Output in a page, the words that run the program, and notes about it."""

    page: Path
    words: tuple[str, ...]
    notes: frozenset[str]
    text: str

    def __str__(self) -> str:
        return " ".join([*self.words, *sorted(self.notes)])

    def check(self, printed: str, blur: Callable[[str], str] | None = None) -> None:
        """Fail if this was not printed. ``blur`` takes away from both what differs from run to
        run (``without_times`` does so for times). With the note "in any order", lines may come in
        any order."""
        blur = blur or without_times
        if WRITING:
            rewrite(self.page, self.text, printed)
        elif not same(printed, self.text, blur, any_order="in any order" in self.notes):
            raise AssertionError(difference(str(self), blur(self.text), blur(printed)))


def same(printed: str, shown: str, blur: Callable[[str], str], any_order: bool) -> bool:
    """Whether two outputs are the same but for what ``blur`` takes away."""
    arrange: Callable[[Iterable[str]], list[str]] = sorted if any_order else list
    return arrange(blur(printed).splitlines()) == arrange(blur(shown).splitlines())


def difference(what: str, wanted: str, seen: str) -> str:
    """What a test says where a page does not show what was printed."""
    lines = difflib.unified_diff(
        wanted.splitlines(), seen.splitlines(), "shown", "printed", lineterm=""
    )
    return "\n".join([f"{what} prints something else than shown", *lines])


def rewrite(page: Path, old: str, new: str) -> None:
    """Put what was printed in the place of what the page shows."""
    text = page.read_text()
    assert text.count(f"```text\n{old}```") == 1, f"{page}: shown twice, write it by hand"
    page.write_text(text.replace(f"```text\n{old}```", f"```text\n{new.rstrip()}\n```"))


def without_times(text: str) -> str:
    """The text without how long things took: 0.52 s, 13 ms, 2 min."""
    return re.sub(r"\d+(\.\d+)? (s|ms|µs|min)\b", r"… \2", text)


def codes(pages: Iterable[Path]) -> list[Code]:
    """All blocks of code that say where they come from."""
    return [
        Code(page=page, source=found["source"], kind=found["kind"], text=found["text"])
        for page in pages
        for found in _CODE.finditer(page.read_text())
    ]


def outputs(pages: Iterable[Path]) -> list[Output]:
    """All blocks of output that say which program prints them."""
    return [
        Output(
            page=page,
            words=tuple(found["words"].split()),
            notes=frozenset(note.strip() for note in (found["notes"] or "").split(",") if note),
            text=found["text"],
        )
        for page in pages
        for found in _OUTPUT.finditer(page.read_text())
    ]


def unaccounted(page: Path, kinds: Sequence[str] = ("python", "text")) -> list[str]:
    """The blocks of these kinds that do not say where they come from, by their first lines."""
    text = page.read_text()
    said = {found.start("text") for pattern in (_CODE, _OUTPUT) for found in pattern.finditer(text)}
    blocks = re.finditer(r"^```(\w+)\n(?P<text>.*?)```", text, re.S | re.M)
    return [
        found["text"].partition("\n")[0]
        for found in blocks
        if found[1] in kinds and found.start("text") not in said
    ]


def start(
    program: Path,
    words: Sequence[str] = (),
    *,
    folder: Path,
    environ: Mapping[str, str] | None = None,
) -> subprocess.Popen[str]:
    """A program that has begun, in that folder, with its output and errors in ``stdout``."""
    # options for the tests that run this one are not for those that a page shows
    inherited = {name: value for name, value in os.environ.items() if name != "PYTEST_ADDOPTS"}
    return subprocess.Popen(
        [sys.executable, "-W", "error", program, *words],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**inherited, "PYTHONUNBUFFERED": "1", **(environ or {})},
    )


def printed_by(process: subprocess.Popen[str], seconds: float = 90) -> str:
    """All that a program prints until it ends, which it must do well."""
    try:
        printed, _ = process.communicate(timeout=seconds)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 0, printed
    return printed
