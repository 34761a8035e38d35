"""A job for files, which the how-to pages run."""

import zlib
from pathlib import Path


def ratio(name: str) -> float:
    """How small a file becomes, in per cent."""
    data = Path(name).read_bytes()
    return round(100 * len(zlib.compress(data)) / len(data), 1)
