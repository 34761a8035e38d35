"""The handshake, whatever strangers do in whatever order: nobody is in who has shown nothing."""

from __future__ import annotations

from typing import Any

from ampacity.coordinator.antechamber import OWN_SECOND
from ampacity.protocol import commands
from ampacity.protocol.limits import GREETING_BYTES, GREETING_SECONDS
from ampacity.protocol.tokens import ROLES, Role
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from twisted.logger import globalLogPublisher
from twisted.protocols import amp

from .amounts import examples
from .strangers import PLACES, STEP, Door, Shown, Stranger
from .watching import Watch

ADDRESSES = ["10.0.0.1", "10.0.0.2", "10.0.0.3"]
OTHERS = [b"Shutdown", b"Query", b"Ping", b"OpenSession", b"Join", b"Nothing", b"", b"\xff" * 99]
tags = st.binary(min_size=1, max_size=8)
fields = st.dictionaries(
    st.sampled_from([b"versions", b"role", b"software", b"token", b"secret", b"k"]),
    st.binary(max_size=30),
    max_size=5,
)


def boxed(name: bytes, tag: bytes | None, arguments: Any) -> bytes:
    ask = {} if tag is None else {amp.ASK: tag}
    return bytes(amp.AmpBox({amp.COMMAND: name, **ask, **arguments}).serialize())


def greet(role: str) -> bytes:
    given = {"versions": [1, 2], "role": role, "software": "x"}
    return boxed(b"Hello", b"h", commands.Hello.makeArguments(given, None))


def authenticate(shown: Shown, secret: bytes | None = None) -> bytes:
    given = {"token": shown.token.id, "secret": shown.token.secret if secret is None else secret}
    return boxed(b"Authenticate", b"a", commands.Authenticate.makeArguments(given, None))


class Strangers(RuleBasedStateMachine):
    """Any number of them at one door, which knows a few tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.watch = Watch()
        globalLogPublisher.addObserver(self.watch)
        self.door = Door()
        self.tokens: list[Shown] = []

    @initialize(role=st.sampled_from(ROLES))
    def a_token(self, role: Role) -> None:
        self.issue(role, None, None)

    # -- the house --------------------------------------------------------------------------------

    @precondition(lambda self: len(self.tokens) < 5)
    @rule(
        role=st.sampled_from(ROLES),
        lifetime=st.none() | st.just(2.0),
        joins=st.none() | st.booleans(),
    )
    def issue(self, role: Role, lifetime: float | None, joins: bool | None) -> None:
        use = "join" if joins and role == "worker" else "own"
        self.tokens.append(self.door.issue(role, use, lifetime))

    @precondition(lambda self: self.tokens)
    @rule(data=st.data())
    def revoke(self, data: st.DataObject) -> None:
        self.door.revoke(data.draw(st.sampled_from(self.tokens)))
        self.door.turn()

    @rule(slow=st.booleans())
    def the_disk(self, slow: bool) -> None:
        self.door.slow = slow
        if not slow:
            self.door.write_all()
        self.door.turn()

    @rule(seconds=st.sampled_from([STEP, 1.0, 2.0, GREETING_SECONDS + STEP]))
    def time_passes(self, seconds: float) -> None:
        self.door.wait(seconds)

    # -- strangers --------------------------------------------------------------------------------

    @precondition(lambda self: sum(one.here for one in self.door.strangers) < 12)
    @rule(host=st.sampled_from(ADDRESSES), is_open=st.sampled_from([False, False, True]))
    def come(self, host: str, is_open: bool) -> None:
        self.door.come(host, is_open)

    def _one(self, data: st.DataObject) -> Stranger:
        here = [one for one in self.door.strangers if one.here and not one.admitted]
        if not here:
            return self.door.come(ADDRESSES[0], False)
        return data.draw(st.sampled_from(here))

    def _say(self, stranger: Stranger, data: bytes, cut: int) -> None:
        """In two pieces, with a turn of the reactor between them."""
        at = cut % (len(data) + 1)
        stranger.wire.arrive(data[:at])
        self.door.turn()
        stranger.wire.arrive(data[at:])
        self.door.turn()

    @rule(
        data=st.data(),
        versions=st.sampled_from([[1], [1, 2], [2, 99]]) | st.lists(st.integers(), max_size=5),
        role=st.sampled_from([*ROLES]) | st.text(st.characters(exclude_categories=["Cs"])),
        tag=st.none() | tags,
        cut=st.integers(0, 200),
    )
    def hello(
        self, data: st.DataObject, versions: list[int], role: str, tag: bytes | None, cut: int
    ) -> None:
        stranger = self._one(data)
        if not stranger.garbled and stranger.role is None and role in ROLES:
            stranger.role = role if {1, 2} & {*versions} else None
        given = {"versions": versions, "role": role, "software": "x"}
        said = boxed(b"Hello", tag, commands.Hello.makeArguments(given, None))
        self._say(stranger, said, cut)

    @precondition(lambda self: self.tokens)
    @rule(
        data=st.data(),
        how=st.sampled_from(["well", "well", "cut", "long", "other", "nothing", "garbage"]),
        cut=st.integers(0, 200),
    )
    def show_a_token(self, data: st.DataObject, how: str, cut: int) -> None:
        stranger = self._one(data)
        shown = data.draw(st.sampled_from(self.tokens))
        secret = shown.token.secret
        match how:
            case "cut":
                secret = secret[:-1]
            case "long":
                secret += b"\0"
            case "other":
                secret = data.draw(st.sampled_from(self.tokens)).token.secret
            case "nothing":
                secret = b""
            case "garbage":
                secret = data.draw(st.binary(max_size=40))
        if not stranger.garbled and stranger.role is not None and not stranger.tried:
            stranger.tried = True
            fits = secret == shown.token.secret and stranger.role == shown.token.role
            if fits and self.door.is_good(shown):
                stranger.good = shown
        self._say(stranger, authenticate(shown, secret), cut)

    @precondition(lambda self: self.tokens)
    @rule(data=st.data(), role=st.none() | st.sampled_from(ROLES), cut=st.integers(0, 200))
    def come_and_say_all(self, data: st.DataObject, role: Role | None, cut: int) -> None:
        """What somebody does who has a token, and says the role of another perhaps."""
        shown = data.draw(st.sampled_from(self.tokens))
        self._come_with(shown, role or shown.token.role, [authenticate(shown)], cut)

    @rule(role=st.sampled_from(ROLES), revoked=st.booleans(), cut=st.integers(0, 200))
    def come_too_late(self, role: Role, revoked: bool, cut: int) -> None:
        shown = self.door.issue(role, "own", None if revoked else STEP)
        self.door.wait(2 * STEP)
        if revoked:
            self.door.revoke(shown)
            self.door.turn()
        self._come_with(shown, role, [authenticate(shown)], cut)

    @precondition(lambda self: self.tokens)
    @rule(data=st.data(), first=st.sampled_from(ROLES), cut=st.integers(0, 400))
    def take_the_greeting_back(self, data: st.DataObject, first: Role, cut: int) -> None:
        """A second greeting, before the token that fits it: the first one counts."""
        shown = data.draw(st.sampled_from(self.tokens))
        self._come_with(shown, first, [greet(shown.token.role), authenticate(shown)], cut)

    @precondition(lambda self: self.tokens)
    @rule(data=st.data(), wrong=st.binary(max_size=40), cut=st.integers(0, 400))
    def guess_on(self, data: st.DataObject, wrong: bytes, cut: int) -> None:
        """The right secret, after a wrong one: each connection has one try."""
        shown = data.draw(st.sampled_from(self.tokens))
        tries = [authenticate(shown, wrong), authenticate(shown)]
        stranger = self._come_with(shown, shown.token.role, tries, cut)
        assert stranger.admitted is None

    def _come_with(self, shown: Shown, role: Role, said: list[bytes], cut: int) -> Stranger:
        """Somebody new greets and goes on, all at once, with a token that is good or not."""
        stranger = self.door.come(ADDRESSES[cut % 3], False)
        stranger.role, stranger.tried = role, True
        if role == shown.token.role and self.door.is_good(shown):
            stranger.good = shown
        self._say(stranger, b"".join([greet(role), *said]), cut)
        return stranger

    @rule(
        data=st.data(), name=st.sampled_from([*OTHERS, b"Hello", b"Authenticate"]),
        tag=st.none() | tags, given=fields, cut=st.integers(0, 200),
    )  # fmt: skip
    def ask_anything(
        self, data: st.DataObject, name: bytes, tag: bytes | None, given: Any, cut: int
    ) -> None:
        stranger = self._one(data)
        if name in (b"Hello", b"Authenticate"):
            given.pop(b"role", None)  # whole ones are said elsewhere
            given.pop(b"secret", None)
        self._say(stranger, boxed(name, tag, given), cut)

    @rule(data=st.data(), said=st.binary(max_size=60), times=st.sampled_from([1, 1, 1, 200]))
    def say_anything(self, data: st.DataObject, said: bytes, times: int) -> None:
        stranger = self._one(data)
        stranger.garbled = True
        self._say(stranger, said * times, 0)

    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        self._one(data).wire.loseConnection()
        self.door.turn()

    # -- what holds -------------------------------------------------------------------------------

    @invariant()
    def nobody_is_in_who_has_shown_nothing(self) -> None:
        for stranger in self.door.strangers:
            if stranger.admitted is None:
                continue
            role, client = stranger.admitted
            if stranger.open:
                assert role == ("operator" if stranger.role == "client" else stranger.role)
                assert client == "local"
                continue
            assert stranger.good is not None, stranger
            assert role == stranger.role == stranger.good.token.role
            assert (client == stranger.good.token.id) == (stranger.good.use == "own")

    @invariant()
    def nobody_takes_more_than_his_share(self) -> None:
        for doorway in self.door.doorways.values():
            assert doorway.greeted <= PLACES
            assert doorway.waiting <= 6
        for stranger in self.door.strangers:
            connection = stranger.connection
            if connection is not None and stranger.admitted is None and stranger.here:
                assert connection._greeted <= GREETING_BYTES

    @invariant()
    def nothing_goes_wrong(self) -> None:
        assert not self.watch.seen, "\n".join(self.watch.seen)

    def teardown(self) -> None:
        try:
            self.door.slow = False
            self.door.write_all()
            self.door.turn()
            waiting = sum(one.here and one.admitted is None for one in self.door.strangers)
            self.door.wait(GREETING_SECONDS + OWN_SECOND * (waiting + 1) + 12.0)
            left = [one for one in self.door.strangers if one.here and one.admitted is None]
            assert not left, "they are here for ever"
            self.nobody_is_in_who_has_shown_nothing()
            self.nothing_goes_wrong()
            self.door.close()
            self.nothing_goes_wrong()
            assert self.door.clock.getDelayedCalls() == []
        finally:
            globalLogPublisher.removeObserver(self.watch)


TestStrangers = Strangers.TestCase
TestStrangers.settings = examples(30, stateful_step_count=25)
