"""Sums of jobs and of their bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from .records import JobRecord


@attrs.define
class Tally:
    """Ended jobs, and the bytes that are kept of them."""

    jobs: int = 0
    bytes: int = 0

    def add(self, job: JobRecord) -> None:
        self.jobs += 1
        self.bytes += job.kept

    def remove(self, job: JobRecord) -> None:
        self.jobs -= 1
        self.bytes -= job.kept

    def grow(self, jobs: int, size: int) -> None:
        """So many more, or fewer, with so many bytes."""
        self.jobs += jobs
        self.bytes += size
