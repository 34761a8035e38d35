"""Pages of jobs, held against a plain reading of what was written."""

from __future__ import annotations

import random
from typing import Any

import attrs
import pytest
import pytest_twisted
from ampacity.coordinator import listing as listing_module
from ampacity.coordinator.effects import JobsAdded, JobsChanged, JobsEnded, JobsForgotten
from ampacity.coordinator.kept import Listing, Page
from ampacity.coordinator.transitions import CANCELLED, FAILED, QUEUED, SUCCEEDED
from ampacity.protocol.ids import ClientId, GroupId, JobId
from twisted.internet.defer import Deferred

C = ClientId("c")


@attrs.define
class Model:
    """The jobs, and a page of them by going through all."""

    jobs: dict[int, Any]

    def page(self, asked: Listing) -> Page:
        found = [job for _, job in sorted(self.jobs.items()) if self._in(job, asked)]
        if asked.by_place:
            latest = {job.place: job for job in self._of_group(asked)}
            found = [latest[place] for place in sorted(latest) if latest[place] in found]
        if asked.newest:
            found.reverse()
        place = (lambda job: job.place) if asked.by_place else (lambda job: job.id)
        if asked.after is not None:
            after = asked.after
            found = [j for j in found if (place(j) < after if asked.newest else place(j) > after)]
        page = found[: asked.limit]
        more = len(found) > asked.limit
        return Page([job.id for job in page], place(page[-1]) if more else None)

    def _of_group(self, asked: Listing) -> list[Any]:
        return [
            job
            for _, job in sorted(self.jobs.items())
            if job.group is not None and job.group.id == asked.group and job.place is not None
        ]

    @staticmethod
    def _in(job: Any, asked: Listing) -> bool:
        return (
            asked.client in (None, job.client.id)
            and (asked.last is None or job.id <= asked.last)
            and (asked.group is None or (job.group is not None and job.group.id == asked.group))
            and (asked.states is None or job.state in asked.states)
            and (asked.name is None or job.spec.spec.name == asked.name)
            and not (asked.unretried and job.retried is not None)
        )


async def fill(store: Any, records: Any, end: Any, seed: int) -> Model:
    chance = random.Random(seed)
    groups = [None, records.group(1), records.group(2)]
    number, jobs = 0, {}
    for _ in range(120):
        number += chance.choice([1, 1, 1, 50])
        group = chance.choice(groups)
        jobs[number] = records.job(
            number,
            client=chance.choice("cccd"),
            group=group,
            place=None if group is None else chance.randrange(30),
            name=chance.choice(["a", "b", None]),
        )
    await store.commit([JobsAdded(list(jobs.values()))])
    for job in chance.sample(list(jobs.values()), 20):
        job.retried = JobId(9999)
    ends = [
        end(job, state=chance.choice([SUCCEEDED, FAILED, CANCELLED]))
        for job in chance.sample(list(jobs.values()), 60)
    ]
    await store.commit([JobsChanged(list(jobs.values())), JobsEnded(ends)])
    gone = chance.sample(sorted(jobs), 10)
    await store.commit([JobsForgotten([JobId(n) for n in gone])])
    return Model({n: job for n, job in jobs.items() if n not in gone})


def some_listing(chance: random.Random) -> Listing:
    by_place = chance.random() < 0.3
    return Listing(
        chance.choice([C, C, None]),
        limit=chance.choice([1, 3, 10, 500]),
        after=chance.choice([None, None, 0, 5, 20, 300, 2000]),
        newest=chance.random() < 0.3,
        last=chance.choice([None, None, 100, 700]) if not by_place else None,
        group=GroupId(chance.choice([1, 2, 3])) if by_place or chance.random() < 0.3 else None,
        states=chance.choice(
            [None, None, frozenset(), frozenset({QUEUED}), frozenset({FAILED, CANCELLED})]
        ),
        name=chance.choice([None, None, "a", "none"]),
        unretried=chance.random() < 0.3,
        by_place=by_place,
    )


@pytest.mark.parametrize("window", [4, 4000])
@pytest.mark.parametrize("seed", range(2))
@pytest_twisted.ensureDeferred
async def test_pages_are_those_of_the_model(
    folder: Any, records: Any, end: Any, monkeypatch: Any, seed: int, window: int
) -> None:
    monkeypatch.setattr(listing_module, "WINDOW", window)
    store = await folder.open()
    model = await fill(store, records, end, seed)
    chance = random.Random(seed)
    for reopen in (False, True):
        if reopen:
            store = await folder.again()
        for _ in range(60):
            asked = some_listing(chance)
            assert await store.page(asked) == model.page(asked), asked


@pytest_twisted.ensureDeferred
async def test_pages_follow_each_other(folder: Any, records: Any, end: Any) -> None:
    store = await folder.open()
    model = await fill(store, records, end, 5)
    for by_place in (False, True):
        asked = Listing(C, 7, group=GroupId(1) if by_place else None, by_place=by_place)
        found: list[int] = []
        while True:
            page = await store.page(asked)
            found += page.ids
            if page.next is None:
                break
            asked = asked._replace(after=page.next)
        assert found == model.page(asked._replace(after=None, limit=1000)).ids


@pytest_twisted.ensureDeferred
async def test_commits_pass_a_long_listing(folder: Any, records: Any, monkeypatch: Any) -> None:
    """The page looks at every job; between its windows, others have their turn."""
    monkeypatch.setattr(listing_module, "WINDOW", 10)
    store = await folder.open()
    await store.commit([JobsAdded([records.job(n) for n in range(1, 401)])])
    order: list[str] = []
    page: Deferred[Page] = store.page(Listing(C, 5, name="none"))
    page.addCallback(lambda _: order.append("page"))
    for _ in range(3):
        await store.commit([])
        order.append("commit")
    await page
    assert order == ["commit"] * 3 + ["page"]
