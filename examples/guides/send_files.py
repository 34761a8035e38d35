"""Compress files on machines that do not see them: what is in them travels, and comes back."""

import zlib
from pathlib import Path

from ampacity.blocking import Pool

if __name__ == "__main__":
    names = sorted(Path().glob("*.txt"))
    with Pool() as pool:
        packed = pool.map(zlib.compress, (name.read_bytes() for name in names))
        for name, content in zip(names, packed, strict=True):
            name.with_suffix(".z").write_bytes(content)
            print(name, name.stat().st_size, len(content))
