"""The benchmarks, one after the other, each in a process of its own.

``python -m ampacity.benchmarks`` measures ampacity and the floors, ``--peers`` the peers and
ampacity beside them. What was found is printed, and written as JSON for plots and pages.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from .kit import fresh, machine
from .kit.measured import Measured, from_plain
from .kit.plan import Plan
from .kit.program import arguments, end_when_asked, say
from .kit.results import Results, write
from .kit.targets import judged, targets_text
from .registry import ALL, OURS, PEERS

FOLDER = Path("build/bench")


def main() -> int:
    end_when_asked()
    given = _parser().parse_args()
    if given.list:
        for name, what in ALL.items():
            print(f"{name:14} {what}")
        return 0
    names = _names(given)
    results = Results(
        machine=machine.facts(),
        versions=machine.versions(),
        date=machine.today(),
        command=_command(given),
        measured={},
    )
    failed = []
    for name in names:
        say(f"{name}: {ALL[name]}")
        if (found := _run(name, given)) is None:
            failed.append(name)
        else:
            results.measured[name] = found
    file = given.json or FOLDER / f"{_file_name(given)}.json"
    write(results, file)
    _tell(results, file, everything=not given.only)
    for name in failed:
        say(f"{name} failed")
    return 1 if failed else 0


def _parser() -> argparse.ArgumentParser:
    parser = arguments(__doc__)
    parser.add_argument("--only", metavar="NAMES", help="these, with commas between them")
    parser.add_argument("--peers", action="store_true", help="the peers, and ampacity beside them")
    parser.add_argument("--list", action="store_true", help="say what there is")
    return parser


def _names(given: argparse.Namespace) -> list[str]:
    if not given.only:
        return list(PEERS if given.peers else OURS)
    names = [name for name in given.only.replace(",", " ").split() if name]
    if unknown := [name for name in names if name not in ALL]:
        sys.exit(f"there is no {', '.join(unknown)}; there are: {', '.join(ALL)}")
    return names


def _file_name(given: argparse.Namespace) -> str:
    """A run of some of them, or a quick one, does not stand for the whole."""
    if given.quick:
        return "quick"
    return "some" if given.only else "peers" if given.peers else "bench"


def _command(given: argparse.Namespace) -> str:
    only = f" ONLY={given.only}" if given.only else ""
    rounds = "" if given.rounds == Plan().rounds else f" BENCH='--rounds {given.rounds}'"
    return f"make bench{'-peers' if given.peers else ''}{only}{rounds}"


def _run(name: str, given: argparse.Namespace) -> Measured | None:
    """In a process of its own, which prints its own table."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "found.json"
        words = ["--rounds", str(given.rounds), "--slots", str(given.slots), "--json", str(file)]
        if given.quick:
            words.append("--quick")
        if given.profile is not None:
            words += ["--profile", str(given.profile)]
        # in a session of its own: what is typed here reaches it in one way, and once
        process = subprocess.Popen(fresh.command(name, *words), start_new_session=True)
        try:
            code = process.wait()
        except BaseException:
            process.terminate()
            process.wait()
            raise
        if code or not file.exists():
            return None
        told: dict[str, Any] = json.loads(file.read_text())
        return from_plain(told)


def _tell(results: Results, file: Path, everything: bool) -> None:
    """The targets: all of them after a whole run, those that were measured after another."""
    found = judged([results])
    print(targets_text([one for one in found if everything or one.value is not None]))
    total = sum(measured.seconds for measured in results.measured.values())
    print(f"\n{total:.0f} s; written to {file}")


if __name__ == "__main__":
    sys.exit(main())
