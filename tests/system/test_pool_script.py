"""A program in one folder, run from another: the modules beside it are found by its jobs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

PROGRAM = """
import beside
import elsewhere
from ampacity.blocking import Pool

if __name__ == "__main__":
    with Pool(slots=1) as pool:
        print(pool.submit(beside.name).result(), pool.submit(elsewhere.name).result())
"""


def test_modules_beside_a_script_and_on_the_python_path(tmp_path: Path) -> None:
    folders = {name: tmp_path / name for name in ("app", "library", "work")}
    for folder in folders.values():
        folder.mkdir()
    (folders["app"] / "program.py").write_text(PROGRAM)
    (folders["app"] / "beside.py").write_text("def name():\n    return 'beside'\n")
    (folders["library"] / "elsewhere.py").write_text("def name():\n    return 'elsewhere'\n")
    done = subprocess.run(
        [sys.executable, str(folders["app"] / "program.py")],
        cwd=folders["work"],
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(folders["library"])},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "beside elsewhere\n", "")
