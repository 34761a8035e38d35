"""``map``: one job an item, lines in the items' order, the input pulled as it is worked off."""

from __future__ import annotations

from collections import deque
from typing import Any

import attrs
import click

from ..protocol.limits import NAME_LENGTH
from .failures import Exit, say
from .items import Item, Items, source_of
from .records import group_text
from .rendering import dumps
from .shared import Common, ItemsCommand, command, misplaced, on_terminal, words
from .specs import Wanted, job_options

WINDOW = 4096
"""Items that are submitted and whose line is not printed yet."""

_PLACE_DIGITS = 12
"""Characters of an item's key that are no text of the user's: ``:`` and its place."""

FULL_PAUSE = 1.0
"""Seconds before a full coordinator is asked again."""

DISK_PATIENCE = 600.0
"""Seconds to wait for room on its disk, unless the user says otherwise: somebody must make it."""


@command(
    "slots",
    "python",
    "setup",
    "progress",
    "cwd",
    "patience",
    cls=ItemsCommand,
    name="map",
    short_help="Run a function or a command over many items.",
    examples=[
        "ampacity map math:factorial ::: 5 10 20",
        "ampacity map mymodule:thumbnail 256 ::: *.jpg      thumbnail(256, 'a.jpg')",
        "ampacity map --jsonl cases.jsonl --star mymodule:simulate",
        "seq 1000 | ampacity map math:sqrt",
        "ampacity map -- convert {} {.}.png ::: *.jpg",
        "ampacity map --detach mymodule:simulate ::: 1 2 3  prints the group: g3",
        "ampacity result g3                                 come back tomorrow",
    ],
)
@job_options
@click.option("--jsonl", metavar="FILE", help="Items are the lines of FILE, each JSON; - is stdin.")
@click.option("--star", is_flag=True, help="Spread an array or an object over the arguments.")
@click.option("--detach", is_flag=True, help="Submit all, print the group, and leave.")
@click.option(
    "--key",
    metavar="TEXT",
    help="Mapping again with this key submits only what is new: item N has the key TEXT:N.",
)
def map_command(
    common: Common,
    jsonl: str | None,
    star: bool,
    detach: bool,
    key: str | None,
    **given: Any,
) -> int:
    """Run a function or a command over many items and print a line for each, in their order.

    Items come after :::, from --jsonl, or as lines on stdin. Fixed arguments come before the
    item. In a command {} is the item, {.} without its extension, {/} its last part, {//} its
    folder, {/.} its last part without extension; without any of them the item comes last.
    Failures go to stderr; the exit code is 1 if there are any.

    With --key, a map that was interrupted can be given again, word for word: what was submitted
    is not submitted again, and its results are printed with the others.
    """
    from .connecting import client

    wanted = Wanted(words(), {**given, "cwd": common.settings["cwd"]})
    listed = words().items
    if key is not None and not 0 < len(key) <= NAME_LENGTH - _PLACE_DIGITS:
        raise click.UsageError(f"--key has 1 to {NAME_LENGTH - _PLACE_DIGITS} characters")

    async def main(reactor: Any, link: Any) -> int:
        items = Items(wanted, source_of(reactor, listed, jsonl), jsonl, star)
        work = Mapping(reactor, link, common, wanted, items, key)
        return await (work.detached() if detach else work.attended())

    return client(common, main, own=not detach)


@attrs.define(eq=False)
class Pending:
    """An item that is submitted and whose line is not printed."""

    place: int
    item: Item
    ticket: Any = None


@attrs.define(eq=False)
class Mapping:
    """One run of ``map``."""

    reactor: Any
    link: Any
    common: Common
    wanted: Wanted
    items: Items
    key: str | None = None
    tally: Any = attrs.field(init=False)
    submitted: int = 0
    printed: int = 0
    failed: int = 0
    cancelled: bool = False
    error: BaseException | None = None
    """What ended the input before its end."""
    _pending: deque[Pending] = attrs.field(factory=deque)
    _fed: bool = False
    _room: Any = None
    _news: Any = None
    _bar: Any = None
    _spec: bytes = b""

    def __attrs_post_init__(self) -> None:
        from ..client.tallies import GroupTally

        self.tally = GroupTally(1)

    @property
    def group(self) -> str | None:
        """The group's id, once something has been accepted."""
        return group_text(self.tally.id)

    # -- the two ways to run --

    async def detached(self) -> int:
        """Submit everything and print the group."""
        self.link.session.hands_in = True
        await self._feed(None)
        if self.group is not None:
            record = {"group": self.group, "size": self.submitted}
            click.echo(dumps(record) if self.common.as_json else self.group)
        if self.error is not None:
            raise self.error
        if self.group is None:
            say("there were no items, so there is no group")
        return Exit.DONE

    async def attended(self) -> int:
        """Submit, print, and obey Ctrl-C."""
        from twisted.internet.defer import Deferred

        from ..protocol.errors import NoCoordinator
        from .interrupts import Left, attended, tell_kept
        from .progress import bar

        self._bar = bar(self.common.settings["progress"])
        work = Deferred.fromCoroutine(self._work())
        try:
            return await attended(self.reactor, self.link, work, self._cancel)
        except Left:
            self._tell_left()
            return Exit.INTERRUPTED
        except NoCoordinator:
            if self.group is not None:
                tell_kept(self.group, f"ampacity wait {self.group}; ampacity result {self.group}")
            raise

    async def _work(self) -> int:
        from twisted.internet.defer import Deferred
        from twisted.internet.task import LoopingCall

        began = self.reactor.seconds()
        feeding = Deferred.fromCoroutine(self._feed(WINDOW))
        feeding.addErrback(lambda _: None)  # cancelled, when there is nobody to print for
        self._bar.start()
        ticking = LoopingCall(self._draw)
        ticking.clock = self.reactor
        ticking.start(0.1, now=False)
        try:
            await self._print()
            self._draw(last=True)
        except OSError:  # nobody reads the results any more
            if not self.link.own:
                await self._cancel()
            raise
        finally:
            if ticking.running:
                ticking.stop()
            feeding.cancel()
            self._bar.stop()
        return self._end(self.reactor.seconds() - began)

    def _end(self, seconds: float) -> int:
        from .progress import summary

        if self.error is not None:
            raise self.error
        if self.printed == 0:
            say("there were no items")
            return Exit.DONE
        if self.failed and (hint := misplaced()):
            say(hint)
        if self.failed or on_terminal(2) or self.common.settings["progress"]:
            again = f"; again: ampacity retry {self.group}"
            tail = again if self.failed and not self.link.own else ""
            say(summary(self.printed, self.failed, seconds) + tail)
        return Exit.JOB_FAILED if self.failed else Exit.DONE

    def _draw(self, last: bool = False) -> None:
        total = self.items.source.total or (self.submitted if self._fed else None)
        self._bar.update(self.printed, self.failed, total, last)

    # -- the input --

    async def _feed(self, window: int | None) -> None:
        """Submit items until there are no more, never more than ``window`` ahead."""
        try:
            await self._feed_all(window)
        except Exception as e:  # noqa: BLE001  # told when what was submitted has ended
            self.error = e
        finally:
            self._fed = True
            self.link.close_group(self.tally)
            self._tell_news()

    async def _feed_all(self, window: int | None) -> None:
        from ..protocol.jobs import pack_spec
        from ..protocol.limits import FRAME_JOBS

        self._spec = pack_spec(self.wanted.spec(self.link))
        while not self.cancelled and self.error is None:
            await self._for_room(window)
            room = FRAME_JOBS if window is None else window - len(self._pending)
            items, self.error = await self.items.take(min(FRAME_JOBS, room))
            if not items or self.cancelled:
                return
            await self._submit(items, keep=window is not None)

    async def _for_room(self, window: int | None) -> None:
        from twisted.internet.defer import Deferred

        while window is not None and len(self._pending) >= window:
            self._room = Deferred()
            await self._room

    async def _submit(self, items: list[Item], keep: bool) -> None:
        """Submit a slice; ``keep``: its outcomes are wanted. Returns once it is accepted."""
        slice_ = [Pending(place, item) for place, item in enumerate(items, self.submitted)]
        self.submitted += len(slice_)
        for one in slice_:
            self._send(one)
        warned = self.link.warning
        for one in slice_:
            await self._accepted(one)
        if self.link.warning and self.link.warning != warned:
            say(f"{self.group} waits: {self.link.warning}")
        if keep:
            self._pending.extend(slice_)
            self._tell_news()

    def _send(self, one: Pending) -> None:
        key = None if self.key is None else f"{self.key}:{one.place}"
        submit, payload = self.link.submit, one.item.payload
        one.ticket = submit(self._spec, payload, key=key, tally=self.tally, place=one.place)

    async def _accepted(self, one: Pending) -> None:
        """Wait until the item is accepted; while the coordinator is full, try again."""
        from twisted.internet.task import deferLater

        from ..protocol.errors import QueueFull, StorageFull

        since = None
        while True:
            try:
                await one.ticket.accepted()
                return
            except (QueueFull, StorageFull) as e:
                now = self.reactor.seconds()
                if since is None:
                    since = now
                    say(f"{e}; waiting for room")
                elif isinstance(e, StorageFull) and now - since > self._disk_patience():
                    raise
                await deferLater(self.reactor, FULL_PAUSE)
                self._send(one)

    def _disk_patience(self) -> float:
        asked: float | None = self.common.settings["patience"]
        return DISK_PATIENCE if asked is None else asked

    def _tell_news(self) -> None:
        if self._news is not None:
            news, self._news = self._news, None
            news.callback(None)

    # -- the output --

    async def _print(self) -> None:
        from twisted.internet.defer import Deferred

        from .streams import Writer

        writer = Writer(self.reactor)
        while self._pending or not self._fed:
            if not self._pending:
                self._news = Deferred()
                await self._news
                continue
            one = self._pending[0]
            await self._print_one(writer, await one.ticket.ended(), one)
            self._pending.popleft()
            self._make_room()
        await writer.flush()

    async def _print_one(self, writer: Any, delivery: Any, one: Pending) -> None:
        from ..protocol.outcomes import Ending
        from .printing import print_item

        succeeded = delivery.ending is Ending.SUCCEEDED
        self.printed += 1
        self.failed += not succeeded
        if self.cancelled and not succeeded and not self.common.as_json:
            return
        if on_terminal(1) or not succeeded:
            self._bar.hide()
        item = {"index": one.place, "item": one.item.item}
        await print_item(writer, self.link, delivery, self.common.as_json, item)

    def _make_room(self) -> None:
        if self._room is not None:
            room, self._room = self._room, None
            room.callback(None)

    # -- leaving --

    def _cancel(self) -> Any:
        """End what is submitted; nothing more is."""
        self.cancelled = True
        self._make_room()
        return self.link.cancel([one.ticket.id for one in self._pending])

    def _tell_left(self) -> None:
        from .interrupts import tell_left

        if self.group is not None:
            tell_left(self.link, self.group, f"ampacity result {self.group}")
            if not self._fed:
                say("items that were not read yet are not in it")
