"""A process of a chaos run: ``client ...``, or a command line of ampacity; it ends with its run."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Sequence

_PR_SET_PDEATHSIG = 1


def end_with(parent: int) -> None:
    """Be killed when the parent ends, however that comes about; Linux only."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)


def main(words: Sequence[str]) -> int:
    """``PARENT client BRIEF CLIENT LIFE`` or ``PARENT COMMAND ...``."""
    parent, role, *rest = words
    end_with(int(parent))
    if role == "client":
        from .chaos_client import main as client

        return client(rest)
    from .entry import main as command

    return command([role, *rest])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
