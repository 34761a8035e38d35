"""Says which of Python's own locks the main thread goes through, while it hands in a job and waits.

An interrupt at the wrong bytecode of one leaves it held.
"""

from __future__ import annotations

import sys
import threading
from concurrent.futures import _base
from types import FrameType
from typing import Any

from ampacity.blocking import Pool

FILES = {threading.__file__, _base.__file__}
found: set[str] = set()


def tell(frame: FrameType, event: str, arg: Any) -> None:
    if frame.f_code.co_filename in FILES:
        found.add(frame.f_code.co_qualname)


def main() -> None:
    with Pool(slots=1) as pool:
        assert pool.submit(len, "ab").result() == 2
        sys.settrace(tell)
        job = pool.submit(len, "abc")
        assert job.result() == 3
        assert job.result(timeout=1) == 3
        sys.settrace(None)
    print(sorted(found))


if __name__ == "__main__":
    main()
