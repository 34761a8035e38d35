"""Pages of ids by their order, whatever comes and goes between them."""

from __future__ import annotations

from typing import Any

import pytest
from ampacity.coordinator import filed
from ampacity.coordinator.filed import Filed
from ampacity.protocol.ids import JobId
from hypothesis import given
from hypothesis import strategies as st


def of(*jobs: int) -> Filed:
    made = Filed()
    for job in jobs:
        made.add(JobId(job))
    return made


@pytest.mark.parametrize("few", [0, 1000])
def test_pages_of_what_came_in_any_order(monkeypatch: pytest.MonkeyPatch, few: int) -> None:
    monkeypatch.setattr(filed, "FEW", few)
    jobs = of(5, 1, 4, 2)
    assert jobs.above(JobId(0), 2) == [1, 2]
    assert jobs.above(JobId(2), 2) == [4, 5]
    assert jobs.above(JobId(5), 2) == []


@pytest.mark.parametrize("few", [0, 1000])
def test_what_goes_and_comes_again(monkeypatch: pytest.MonkeyPatch, few: int) -> None:
    monkeypatch.setattr(filed, "FEW", few)
    jobs = of(1, 2, 3)
    assert jobs.above(JobId(0), 1) == [1]
    del jobs.jobs[JobId(1)], jobs.jobs[JobId(2)]
    assert jobs.above(JobId(0), 5) == [3]
    jobs.add(JobId(1))
    jobs.add(JobId(7))
    assert jobs.above(JobId(0), 5) == [1, 3, 7]


steps = st.lists(
    st.tuples(st.sampled_from(["add", "drop", "page"]), st.integers(1, 30), st.integers(1, 5))
)


@given(steps)
def test_as_if_everything_were_looked_at(played: list[tuple[str, int, int]]) -> None:
    few, filed.FEW = filed.FEW, 2
    try:
        jobs, known = Filed(), set[int]()
        for what, number, limit in played:
            job: Any = JobId(number)
            if what == "add":
                jobs.add(job)
                known.add(number)
            elif what == "drop":
                jobs.jobs.pop(job, None)
                known.discard(number)
            else:
                assert jobs.above(job, limit) == sorted(n for n in known if n > number)[:limit]
    finally:
        filed.FEW = few
