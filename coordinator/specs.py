"""The specs of a store's jobs, read when they are needed; the last ones stay in memory."""

from __future__ import annotations

from typing import Final

from sqlalchemy import bindparam

from ..protocol.errors import Malformed
from ..protocol.jobs import unpack_spec
from .rows import Known, Rows, spec_digest
from .schema import SPECS
from .sqlite_file import DIALECT, SqliteFile
from .statements import Statement, selected

SPECS_KEPT: Final = 1024

_SPEC = Statement(
    selected(SPECS, "digest", "name", "jobs", "seal", "packed").where(
        SPECS.c.digest == bindparam("digest")
    ),
    DIALECT,
)


class Specs:
    """Finds specs by their digest."""

    def __init__(self, file: SqliteFile, rows: Rows) -> None:
        self._file = file
        self._rows = rows
        self._known: dict[bytes, Known] = {}

    def get(self, digest: bytes) -> Known | None:
        """A spec; None where it is damaged, or missing."""
        known = self._known.get(digest)
        if known is None:
            known = self._read(digest)
            if known is not None:
                if len(self._known) >= SPECS_KEPT:
                    del self._known[next(iter(self._known))]
                self._known[digest] = known
        return known

    def _read(self, digest: bytes) -> Known | None:
        found = self._file.rows(_SPEC, digest=digest)
        if not found or not self._rows.fits(found[0][:4]):
            return None
        packed = found[0][4]
        if type(packed) is not bytes or spec_digest(packed) != digest:
            return None
        try:
            return Known(packed, unpack_spec(packed))
        except Malformed:  # written by a release that knew other fields
            return None
