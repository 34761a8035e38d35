"""The job: one file, compressed as well as LZMA can."""

import hashlib
import lzma
from pathlib import Path


def compress(path: str) -> dict[str, int | str]:
    """The sizes before and after in bytes, and the SHA-256 of what came out."""
    source = Path(path).read_bytes()
    packed = lzma.compress(source, preset=9 | lzma.PRESET_EXTREME)
    return {
        "before": len(source),
        "after": len(packed),
        "digest": hashlib.sha256(packed).hexdigest(),
    }
