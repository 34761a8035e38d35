"""Pages of listings: walked in windows of a bounded number of rows, whatever they hold."""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import ColumnElement, FromClause, Select, bindparam, func, select

from ..protocol.ids import GroupId, JobId
from .kept import Listing, Page
from .reading import Slices
from .schema import JOBS, SPECS
from .sqlite_file import DIALECT, SqliteFile
from .statements import IDS, Statement, one_of, slices

WINDOW: Final = 4000
"""Jobs looked at in one slice."""

_job = JOBS.c
_LOOKED_AT = ("id", "client", "spec", "group_id", "state", "retried")

Spans = dict[GroupId, tuple[JobId, JobId]]


class Lister:
    """Finds the jobs of listings."""

    def __init__(self, file: SqliteFile, spans: Spans) -> None:
        self._file = file
        self._spans = spans

    def page(self, listing: Listing) -> Slices[Page]:
        """One page."""
        if listing.by_place:
            return self._by_place(listing)
        return self._by_id(listing)

    # -- by id ------------------------------------------------------------------------------------

    def _by_id(self, listing: Listing) -> Slices[Page]:
        first, last = self._bounds(listing)
        found: list[JobId] = []
        walk = _Walk(listing)
        while first <= last:
            end = self._end(walk, first, last, listing.newest)
            if end is None:
                break
            rows = self._file.rows(
                walk.found, low=first, high=last, most=listing.limit + 1 - len(found)
            )
            found += [JobId(row[0]) for row in rows]
            if len(found) > listing.limit:
                return Page(found[: listing.limit], found[listing.limit - 1])
            first, last = (first, end - 1) if listing.newest else (end + 1, last)
            yield
        return Page(found, None)

    def _bounds(self, listing: Listing) -> tuple[int, int]:
        """The lowest and the highest id that can be in the page."""
        first, last = 1, _HIGHEST if listing.last is None else listing.last
        if listing.group is not None:
            low, high = self._spans.get(listing.group, (1, 0))
            first, last = max(first, low), min(last, high)
        if listing.after is not None:
            if listing.newest:
                last = min(last, listing.after - 1)
            else:
                first = max(first, listing.after + 1)
        return first, last

    def _end(self, walk: _Walk, first: int, last: int, newest: bool) -> int | None:
        """The far end of the next window; None: there are no jobs any more."""
        ((low, high),) = self._file.rows(walk.window, low=first, high=last)
        end: int | None = low if newest else high
        return end

    # -- by place ---------------------------------------------------------------------------------

    def _by_place(self, listing: Listing) -> Slices[Page]:
        found: list[tuple[int, JobId]] = []
        walk = _PlaceWalk(listing)
        after = listing.after
        while True:
            rows = self._file.rows(
                walk.places,
                of_group=listing.group,
                low=_low(listing, after),
                high=_high(listing, after),
            )
            if not rows:
                return Page([number for _, number in found], None)
            after = rows[-1][0]
            wanted = self._wanted(walk, [JobId(number) for _, number in rows])
            found += [(place, JobId(number)) for place, number in rows if number in wanted]
            if len(found) > listing.limit:
                page = found[: listing.limit]
                return Page([number for _, number in page], page[-1][0])
            yield

    def _wanted(self, walk: _PlaceWalk, ids: list[JobId]) -> set[int]:
        return {
            row[0]
            for part in slices(ids)
            for row in self._file.rows_of(walk.wanted, [*part, *walk.conditions])
        }


_HIGHEST: Final = (1 << 63) - 1
_NO_STATE: Final = -1


def _low(listing: Listing, after: int | None) -> int:
    return -1 if listing.newest or after is None else after


def _high(listing: Listing, after: int | None) -> int:
    return after if listing.newest and after is not None else _HIGHEST


class _Walk:
    """The statements of a listing by id."""

    def __init__(self, listing: Listing) -> None:
        ordered = _job.id.desc() if listing.newest else _job.id
        window = (
            select(*[_job[name] for name in _LOOKED_AT])
            .where(_job.id.between(bindparam("low"), bindparam("high")))
            .order_by(ordered)
            .limit(WINDOW)
            .subquery()
        )
        self.window = Statement(select(func.min(window.c.id), func.max(window.c.id)), DIALECT)
        ids = window.c.id.desc() if listing.newest else window.c.id
        found = _narrowed(select(window.c.id), window, listing)
        self.found = Statement(found.order_by(ids).limit(bindparam("most")), DIALECT)


class _PlaceWalk:
    """The statements of a listing by place."""

    def __init__(self, listing: Listing) -> None:
        place = _job.place.desc() if listing.newest else _job.place
        self.places = Statement(
            select(_job.place, func.max(_job.id))
            .where(
                _job.group_id == bindparam("of_group"),
                _job.place > bindparam("low"),
                _job.place < bindparam("high"),
            )
            .group_by(_job.place)
            .order_by(place)
            .limit(WINDOW // 4),
            DIALECT,
        )
        # they are of the group; asked for it again, the database would go through all of it
        wanted = _narrowed(
            select(_job.id).where(one_of(_job.id)), JOBS, listing._replace(group=None)
        )
        self.wanted = Statement(wanted, DIALECT)
        self.conditions = self.wanted.with_values(**dict.fromkeys(self.wanted.names[:IDS]))[IDS:]


def _narrowed(query: Select[Any], of: FromClause, listing: Listing) -> Select[Any]:
    """Only the jobs that a listing asks for."""
    conditions: list[ColumnElement[bool]] = []
    if listing.client is not None:
        conditions.append(of.c.client == listing.client)
    if listing.group is not None:
        conditions.append(of.c.group_id == listing.group)
    if listing.last is not None:
        conditions.append(of.c.id <= listing.last)
    if listing.states is not None:
        states = listing.states or {_NO_STATE}
        given: list[ColumnElement[int]] = [
            bindparam(f"state_{state}", state) for state in sorted(states)
        ]
        conditions.append(of.c.state.in_(given))
    if listing.unretried:
        conditions.append(of.c.retried.is_(None))
    if listing.name is not None:
        query = query.select_from(of.join(SPECS, SPECS.c.digest == of.c.spec))
        conditions.append(SPECS.c.name == listing.name)
    return query.where(*conditions)
