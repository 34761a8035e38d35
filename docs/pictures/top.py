"""Makes the picture of ``ampacity top`` from a real run: ``python -m ampacity.docs.pictures.top``.

A coordinator with one slot, and a worker with another, compress the sources of the standard
library; after a while, ``top --once`` is asked what it sees, and what it prints is drawn by rich.
"""

from __future__ import annotations

import io
import os
import subprocess
import sys
import sysconfig
import tempfile
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.terminal_theme import MONOKAI

from ...cli import top

FOLDER = Path(__file__).parent
ROOT = FOLDER.parent.parent
SECONDS = 8.0
"""How long the cluster has worked when it is looked at."""

# rich's own, without its fonts from elsewhere: a page loads nothing from others
FRAME = """<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" \
role="img">
<style>
.{unique_id}-matrix {{ font-family: ui-monospace, monospace; font-size: {char_height}px; \
line-height: {line_height}px; }}
{styles}
</style>
<defs>
<clipPath id="{unique_id}-clip-terminal"><rect x="0" y="0" width="{terminal_width}" \
height="{terminal_height}"/></clipPath>
{lines}
</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}
<g class="{unique_id}-matrix">
{matrix}
</g>
</g>
</svg>
"""


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="top") as folder:
        os.environ["AMPACITY_ACCESS"] = f"{folder}/run"
        os.environ["AMPACITY_STATE"] = f"{folder}/state"
        Path(folder, "run").mkdir(mode=0o700)
        cluster = [ampacity("up", "--ephemeral", "--slots", "1", "--name", "east")]
        try:
            time.sleep(3)
            socket = f"unix:{folder}/run/coordinator.socket"
            cluster.append(ampacity("join", socket, "--slots", "1", "--name", "west"))
            files = sorted(Path(sysconfig.get_path("stdlib")).glob("*.py")) * 20
            words = ["examples.demo.compressing:compress", ":::", *map(str, files)]
            ampacity("map", "--detach", *words).wait(60)
            time.sleep(SECONDS)
            (FOLDER / "top.svg").write_text(drawn())
        finally:
            for process in reversed(cluster):
                process.terminate()
                process.wait(30)


def ampacity(*words: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-m", "ampacity.cli.entry", *words], cwd=ROOT)


def drawn() -> str:
    """What ``top --once`` prints now, as SVG."""
    console = Console(record=True, width=100, file=io.StringIO())
    picture = top.picture

    def as_elsewhere(seen: dict[str, Any], *rest: Any, **more: Any) -> Any:
        """The socket is not in a folder that is gone tomorrow."""
        seen["status"]["listening"] = ["unix:/run/user/1000/ampacity/coordinator.socket"]
        return picture(seen, *rest, **more)

    top._console = lambda: console
    top.picture = as_elsewhere
    top.top_command(["--once"], standalone_mode=False)
    return console.export_svg(
        title="ampacity top", theme=MONOKAI, code_format=FRAME, unique_id="top"
    )


if __name__ == "__main__":
    main()
