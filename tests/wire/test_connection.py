"""What a connection bears, what it answers, and what ends it."""

from __future__ import annotations

from typing import Any

import pytest
from ampacity.protocol import commands, limits
from ampacity.protocol.errors import (
    AmpacityError,
    Disconnected,
    Malformed,
    NoSuchJob,
    NotAllowed,
    QueueFull,
    StorageFull,
    TooLarge,
)
from ampacity.protocol.late import LATE_SECONDS
from ampacity.protocol.responders import Responders
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.protocols import amp
from twisted.python.failure import Failure


class Answers(amp.CommandLocator):
    """Answers as the test says."""

    def __init__(self) -> None:
        self.waiting: list[Deferred[dict[str, Any]]] = []
        self.error: Exception | None = None
        self.answer: dict[str, Any] = {"answer": 1}

    @commands.Query.responder
    def query(self, question: str, details: Any) -> Any:
        if self.error is not None:
            raise self.error
        if question == "wait":
            self.waiting.append(Deferred())
            return self.waiting[-1]
        return self.answer

    @commands.PutChunk.responder
    def put(self, digest: bytes, size: int, offset: int, data: bytes) -> dict[str, Any]:
        self.data = data
        return {"have": True}


def query(connection: Any, question: str = "status") -> Deferred[Any]:
    asked: Deferred[Any] = connection.call(commands.Query, question=question, details={})
    return asked


def failure(deferred: Deferred[Any]) -> BaseException:
    failures: list[BaseException] = []

    def keep(failed: Failure) -> None:
        assert failed.value is not None
        failures.append(failed.value)

    deferred.addErrback(keep)
    assert failures, "it has not failed"
    return failures[0]


# -- asking and answering -------------------------------------------------------------------------


def test_a_question_is_answered(pair_of: Any) -> None:
    pair = pair_of(None, Answers())
    assert pair.result(query(pair.here.connection)) == {"answer": 1}


def test_a_frame_spans_many_values(pair_of: Any) -> None:
    answers = Answers()
    pair = pair_of(None, answers)
    data = bytes(range(256)) * 4096
    call = pair.here.connection.call(
        commands.PutChunk, digest=b"d" * 32, size=len(data), offset=0, data=data
    )
    assert pair.result(call) == {"have": True}
    assert answers.data == data


@pytest.mark.parametrize("error", [NoSuchJob, Malformed, NotAllowed, TooLarge])
def test_a_declared_error_arrives_as_itself(pair_of: Any, error: type[Exception]) -> None:
    answers = Answers()
    answers.error = error("because")
    pair = pair_of(None, answers)
    with pytest.raises(error, match="because"):
        pair.result(query(pair.here.connection))
    assert not pair.there.aborted


def test_an_undeclared_error_of_ours_keeps_its_words(pair_of: Any, logged_errors: Any) -> None:
    answers = Answers()
    answers.error = QueueFull("no room for questions")
    pair = pair_of(None, answers)
    with pytest.raises(AmpacityError, match="no room for questions"):
        pair.result(query(pair.here.connection))
    assert logged_errors(QueueFull)


def test_any_other_error_is_logged_and_answered_without_its_words(
    pair_of: Any, logged_errors: Any
) -> None:
    answers = Answers()
    answers.error = ZeroDivisionError("the secret is 42")
    pair = pair_of(None, answers)
    with pytest.raises(AmpacityError, match="Query failed") as caught:
        pair.result(query(pair.here.connection))
    assert "42" not in str(caught.value)
    assert logged_errors(ZeroDivisionError)
    answers.error = None
    assert pair.result(query(pair.here.connection)) == {"answer": 1}


def test_an_answer_that_cannot_be_packed_is_an_error(pair_of: Any, logged_errors: Any) -> None:
    answers = Answers()
    answers.answer = {"answer": object()}
    pair = pair_of(None, answers)
    with pytest.raises(AmpacityError):
        pair.result(query(pair.here.connection))
    assert logged_errors()


def test_an_answer_over_the_limit_is_an_error(pair_of: Any) -> None:
    answers = Answers()
    answers.answer = {"answer": b"x" * limits.BOX_BYTES}
    pair = pair_of(None, answers)
    with pytest.raises(TooLarge):
        pair.result(query(pair.here.connection))
    assert not pair.there.aborted


def test_a_question_over_the_limit_is_not_sent(pair_of: Any) -> None:
    pair = pair_of(None, Answers())
    call = pair.here.connection.call(commands.Query, question="q", details=b"x" * limits.BOX_BYTES)
    assert isinstance(failure(call), TooLarge)
    call = pair.here.connection.call(commands.Query, question="q" * 70_000, details={})
    assert isinstance(failure(call), TooLarge)
    assert pair.result(query(pair.here.connection)) == {"answer": 1}


def test_a_call_never_raises(peer_of: Any) -> None:
    connection = peer_of().connection
    assert isinstance(failure(connection.call(commands.Query)), KeyError)
    assert failure(connection.call(commands.Query, question=1, details={}))
    assert failure(connection.call(commands.Query, question="", details={}, more=1))


def test_an_error_with_an_unknown_code_keeps_its_text(peer_of: Any) -> None:
    peer = peer_of()
    call = query(peer.connection)
    peer.send({b"_error": b"1", b"_error_code": b"LATER", b"_error_description": b"new words"})
    error = failure(call)
    assert type(error) is AmpacityError
    assert str(error) == "new words"


def test_an_answer_that_lacks_a_part_is_malformed(peer_of: Any) -> None:
    peer = peer_of()
    call = query(peer.connection)
    peer.send({b"_answer": b"1"})
    assert isinstance(failure(call), Malformed)
    assert not peer.aborted


def test_what_a_callback_raises_stays_in_its_deferred(peer_of: Any) -> None:
    peer = peer_of()
    call = query(peer.connection).addCallback(lambda _: 1 / 0)
    peer.send({b"_answer": b"1", b"answer": b"\1"})
    assert isinstance(failure(call), ZeroDivisionError)
    assert not peer.aborted


def test_a_cancelled_call_does_not_mind_its_answer(peer_of: Any) -> None:
    peer = peer_of()
    call = query(peer.connection)
    call.cancel()
    failure(call)
    peer.send({b"_answer": b"1", b"answer": b"\1"})
    assert not peer.aborted


def test_stock_amp_gets_stock_answers(peer_of: Any) -> None:
    (answer,) = peer_of(Answers()).ask(b"Query", question=b"status", details=b"\x80")
    assert answer == {b"_answer": b"1", b"answer": b"\x01"}


# -- answers that can wait -------------------------------------------------------------------------


class Reports(Responders):
    """Takes reports, unless there is no room."""

    full = False

    @commands.Finished.responder
    def finished(self, reports: bytes) -> dict[str, Any]:
        if self.full:
            raise StorageFull("no room")
        return {}


def test_a_report_is_acknowledged_with_the_next_words(peer_of: Any, clock: Clock) -> None:
    peer = peer_of(Reports())
    assert peer.ask(b"Finished", reports=b"") == []
    query(peer.connection).addErrback(lambda _: None)
    acknowledged, asked = peer.heard()
    assert acknowledged == {b"_answer": b"1"}
    assert asked[b"_command"] == b"Query"


def test_a_report_is_acknowledged_after_a_moment(peer_of: Any, clock: Clock) -> None:
    peer = peer_of(Reports())
    assert peer.ask(b"Finished", reports=b"") == []
    clock.advance(LATE_SECONDS)
    assert peer.heard() == [{b"_answer": b"1"}]


def test_a_refusal_does_not_wait(peer_of: Any) -> None:
    reports = Reports()
    reports.full = True
    (refusal,) = peer_of(reports).ask(b"Finished", reports=b"")
    assert refusal[b"_error_code"] == b"STORAGE_FULL"


# -- what does not fit ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"question": b"status"},
        {"question": b"\xff\xfe", "details": b"\x80"},
        {"question": b"status", "details": b"\xc1"},
        {"question": b"status", "details": b""},
        {"question": b"status", "details": b"\x91" * 2000},
    ],
)
def test_malformed_arguments_are_answered(peer_of: Any, arguments: dict[str, bytes]) -> None:
    peer = peer_of(Answers())
    (answer,) = peer.ask(b"Query", **arguments)
    assert answer[b"_error_code"] == b"MALFORMED"
    assert not peer.aborted


def test_malformed_arguments_without_a_question_end_the_connection(peer_of: Any) -> None:
    peer = peer_of(Answers())
    peer.send({b"_command": b"Query"})
    assert peer.aborted


def test_an_unknown_command_is_answered(peer_of: Any) -> None:
    peer = peer_of(Answers())
    (answer,) = peer.ask(b"Explode\xff\n")
    assert answer[b"_error_code"] == b"UNHANDLED"
    assert not peer.aborted


def test_a_command_of_another_role_is_not_allowed(peer_of: Any) -> None:
    (answer,) = peer_of(Answers()).ask(b"Submit")
    assert answer[b"_error_code"] == b"NOT_ALLOWED"


def test_starttls_and_its_like_are_no_commands_of_ours(peer_of: Any) -> None:
    (answer,) = peer_of(Answers()).ask(b"StartTLS")
    assert answer[b"_error_code"] == b"UNHANDLED"


@pytest.mark.parametrize(
    "box",
    [
        {},
        {b"what": b"ever"},
        {b"_answer": b"77"},
        {b"_answer": b""},
        {b"_error": b"77", b"_error_code": b"X", b"_error_description": b"\xff"},
        {b"_error": b"77"},
    ],
)
def test_a_box_without_sense_ends_this_connection(peer_of: Any, box: dict[bytes, bytes]) -> None:
    peer, other = peer_of(), peer_of()
    call = query(peer.connection)
    peer.send(box)
    assert peer.aborted
    assert isinstance(failure(call), Disconnected)
    assert not other.aborted


def test_nothing_after_the_end_is_dealt_with(peer_of: Any) -> None:
    answers = Answers()
    peer = peer_of(answers)
    wait = {b"_command": b"Query", b"_ask": b"1", b"question": b"wait", b"details": b"\x80"}
    peer.connection.dataReceived(b"\0\0" + amp.AmpBox(wait).serialize())
    peer.connection.dataReceived(amp.AmpBox(wait).serialize())
    assert answers.waiting == []


def test_a_late_answer_to_a_peer_that_is_gone(peer_of: Any) -> None:
    answers = Answers()
    peer = peer_of(answers)
    peer.ask(b"Query", question=b"wait", details=b"\x80")
    peer.transport.loseConnection()
    answers.waiting[0].callback({"answer": 1})


# -- bounds ---------------------------------------------------------------------------------------


def test_little_may_be_sent_before_the_greeting_is_done(peer_of: Any) -> None:
    peer = peer_of(admitted=False)
    nonsense = amp.AmpBox(
        {b"_command": b"Nonsense", b"_ask": b"1", b"more": b"x" * 200}
    ).serialize()
    rounds, rest = divmod(limits.GREETING_BYTES, len(nonsense))
    peer.connection.dataReceived(nonsense * rounds + nonsense[:rest])
    assert not peer.aborted
    peer.connection.dataReceived(b"x")
    assert peer.aborted


def test_pings_are_not_answered_before_the_greeting_is_done(peer_of: Any) -> None:
    (answer,) = peer_of(admitted=False).ask(b"Ping")
    assert answer[b"_error_code"] == b"NOT_ALLOWED"


def test_a_box_that_never_ends(peer_of: Any) -> None:
    peer = peer_of()
    piece = b"\0\1k\xff\xff" + b"x" * 0xFFFF
    for _ in range(limits.BOX_BYTES // len(piece)):
        peer.connection.dataReceived(piece)
        assert not peer.aborted
    peer.connection.dataReceived(piece)
    assert peer.aborted


def test_a_peer_that_asks_too_much_is_read_more_slowly(peer_of: Any) -> None:
    answers = Answers()
    peer = peer_of(answers, caps=limits.Caps(asks=4))
    for _ in range(5):
        peer.ask(b"Query", question=b"wait", details=b"\x80")
    assert peer.transport.producerState == "paused"
    answers.waiting[0].callback({"answer": 1})
    assert peer.transport.producerState == "paused"
    for waiting in answers.waiting[1:3]:
        waiting.callback({"answer": 1})
    assert peer.transport.producerState == "producing"


def test_open_questions_are_bounded_by_the_bytes_of_their_answers_too(peer_of: Any) -> None:
    answers = Answers()
    peer = peer_of(answers, caps=limits.Caps(ask_bytes=2 * limits.ANSWER_BYTES + 500))
    for place in range(3):
        assert peer.transport.producerState == "producing", place
        peer.ask(b"Query", question=b"wait", details=b"\x80")
    assert peer.transport.producerState == "paused"
    for waiting in answers.waiting:
        waiting.errback(NoSuchJob())
    assert peer.transport.producerState == "producing"


def boxes(number: int, question: bytes = b"wait") -> bytes:
    return b"".join(
        amp.AmpBox(
            {b"_command": b"Query", b"_ask": b"%d" % n, b"question": question, b"details": b"\x80"}
        ).serialize()
        for n in range(number)
    )


def test_what_came_with_the_question_too_many_is_not_begun(peer_of: Any, clock: Clock) -> None:
    answers = Answers()
    peer = peer_of(answers, caps=limits.Caps(asks=4))
    peer.connection.dataReceived(boxes(100))
    assert len(answers.waiting) == 5
    for waiting in list(answers.waiting):
        waiting.callback({"answer": 1})
    clock.advance(0)
    assert len(answers.waiting) == 10


def test_nothing_is_begun_for_a_peer_that_takes_no_answers(peer_of: Any, clock: Clock) -> None:
    answers = Answers()
    answers.answer = {"answer": "x" * 100_000}
    peer = peer_of(answers)
    peer.connection.throttle()
    begun = []
    write = peer.transport.write

    def full(data: bytes) -> None:
        begun.append(len(data))
        write(data)
        peer.connection.pauseProducing()  # as a transport does whose buffer is full

    peer.transport.write = full
    peer.connection.dataReceived(boxes(100, b"status"))
    assert len(begun) == 1
    peer.transport.write = write
    peer.connection.resumeProducing()
    clock.advance(0)
    assert len(peer.heard()) == 100


def test_too_many_bytes_of_details_are_refused(peer_of: Any) -> None:
    peer = peer_of(Answers())
    data = b"\xc5\xff\xff" + bytes(0xFFFF)
    (answer,) = peer.ask(b"Query", question=b"q", details=data[:0xFFFF])
    assert answer[b"_error_code"] == b"MALFORMED"
    box = {b"question": b"q", b"details": data[:0xFFFF], b"details.1": data[0xFFFF:]}
    peer.send({b"_command": b"Query", b"_ask": b"9", **box})
    (answer,) = peer.heard()
    assert answer[b"_error_code"] == b"TOO_LARGE"
    assert not peer.aborted


# -- who is there ---------------------------------------------------------------------------------


def test_a_silent_peer_is_asked_and_then_left(peer_of: Any, clock: Any) -> None:
    peer = peer_of()
    clock.advance(limits.PING_INTERVAL)
    assert [box[b"_command"] for box in peer.heard()] == [b"Ping"]
    clock.advance(limits.PING_INTERVAL)
    clock.advance(limits.PING_INTERVAL - 0.1)
    assert not peer.aborted
    clock.advance(0.1)
    assert peer.aborted
    assert clock.getDelayedCalls() == []


def test_a_peer_is_not_left_for_a_pause_of_our_own(peer_of: Any, clock: Any) -> None:
    peer = peer_of()
    clock.advance(limits.PING_INTERVAL)
    clock.advance(3600)  # SIGSTOP, SIGCONT: the timer comes before what waits in the socket
    assert not peer.aborted
    assert [box[b"_command"] for box in peer.heard()] == [b"Ping", b"Ping"]
    clock.advance(limits.PING_INTERVAL)
    assert not peer.aborted
    clock.advance(limits.PING_INTERVAL)
    assert peer.aborted


def test_a_pause_of_our_own_does_not_count_for_one_that_takes_nothing(
    peer_of: Any, clock: Any
) -> None:
    peer = peer_of()
    peer.connection.throttle()
    peer.connection.pauseProducing()
    clock.advance(3600)
    assert not peer.aborted
    for _ in range(11):
        assert not peer.aborted
        clock.advance(limits.PING_INTERVAL)
    assert peer.aborted


def test_any_byte_is_a_sign_of_life(peer_of: Any, clock: Any) -> None:
    peer = peer_of()
    for byte in b"\0\1a\0\7morning":
        clock.advance(limits.PING_DEADLINE - 0.1)
        peer.connection.dataReceived(bytes([byte]))
    assert not peer.aborted


def test_a_peer_that_talks_is_not_asked(peer_of: Any, clock: Any) -> None:
    peer = peer_of()
    for _ in range(20):
        clock.advance(1)
        peer.ask(b"Ping")
    assert peer.heard() == []


def test_two_of_ours_live_for_ever(pair_of: Any, clock: Any) -> None:
    pair = pair_of()
    for _ in range(100):
        clock.advance(limits.PING_INTERVAL)
        pair.pump()
    assert not pair.here.aborted
    assert not pair.there.aborted


def test_a_peer_that_takes_nothing_is_not_read_and_then_left(peer_of: Any, clock: Any) -> None:
    peer = peer_of()
    peer.connection.throttle()
    assert peer.transport.producer is peer.connection
    peer.connection.pauseProducing()
    assert peer.transport.producerState == "paused"
    for _ in range(4):
        clock.advance(limits.PING_INTERVAL)
    assert not peer.aborted
    peer.connection.resumeProducing()
    assert peer.transport.producerState == "producing"
    peer.connection.pauseProducing()
    for _ in range(13):
        clock.advance(limits.PING_INTERVAL)
    assert peer.aborted


def test_without_a_clock_there_are_no_pings(clock: Any) -> None:
    from ampacity.protocol.connection import Connection

    Connection().admit(amp.CommandLocator())
    assert clock.getDelayedCalls() == []


# -- the end --------------------------------------------------------------------------------------


def test_the_loss_fails_what_was_asked_and_what_will_be(peer_of: Any) -> None:
    peer = peer_of()
    call = query(peer.connection)
    peer.transport.loseConnection()
    assert isinstance(failure(call), Disconnected)
    assert isinstance(failure(query(peer.connection)), Disconnected)


def test_a_call_before_there_is_a_connection_fails() -> None:
    from ampacity.protocol.connection import Connection

    assert isinstance(failure(query(Connection())), Disconnected)


def test_the_loss_is_told_once_and_to_latecomers(peer_of: Any) -> None:
    peer = peer_of()
    told: list[str] = []
    peer.connection.on_lost(lambda reason: told.append("first"))
    peer.transport.loseConnection()
    peer.connection.on_lost(lambda reason: told.append("late"))
    assert told == ["first", "late"]


def test_aborting_and_closing_twice(peer_of: Any) -> None:
    peer = peer_of()
    peer.connection.close()
    peer.connection.close()
    peer.connection.abort()


def test_a_descriptor_that_someone_sends_is_closed(peer_of: Any) -> None:
    import os

    reading, writing = os.pipe()
    os.close(writing)
    peer_of().connection.fileDescriptorReceived(reading)
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(reading)


# -- turns ----------------------------------------------------------------------------------------


class Busy(amp.CommandLocator):
    """Each answer takes longer than peers may in one turn."""

    def __init__(self, clock: Any) -> None:
        self.clock = clock
        self.asked: list[str] = []

    @commands.Query.responder
    def query(self, question: str, details: Any) -> Any:
        self.clock.rightNow += 0.01
        self.asked.append(question)
        return {"answer": question}

    @commands.DrainWorker.responder
    def drain(self, worker: str) -> dict[str, Any]:
        self.clock.rightNow += 0.01
        self.asked.append(worker)
        return {}


def ask_three(peer: Any) -> None:
    for question in (b"one", b"two", b"three"):
        peer.ask(b"Query", question=question, details=b"\x80")


def test_what_a_turn_has_no_room_for_is_read_in_the_next(peer_of: Any, clock: Any) -> None:
    busy = Busy(clock)
    peer = peer_of(busy)
    ask_three(peer)
    assert busy.asked == ["one"]
    assert peer.transport.producerState == "paused"
    clock.advance(0)  # as many turns as are due
    assert busy.asked == ["one", "two", "three"]
    assert peer.transport.producerState == "producing"
    peer.connection.abort()
    clock.advance(0)
    assert clock.getDelayedCalls() == []


def test_what_a_lost_connection_has_brought_is_read(peer_of: Any, clock: Any) -> None:
    busy = Busy(clock)
    peer = peer_of(busy)
    for worker in (b"one", b"two", b"three"):
        peer.ask(b"DrainWorker", worker=worker)
    peer.transport.loseConnection()
    assert busy.asked == ["one", "two", "three"]


def test_what_a_lost_connection_has_only_asked_is_not_answered(peer_of: Any, clock: Any) -> None:
    busy = Busy(clock)
    peer = peer_of(busy)
    ask_three(peer)
    peer.transport.loseConnection()
    assert busy.asked == ["one"]


def test_nothing_is_read_after_an_abort(peer_of: Any, clock: Any) -> None:
    busy = Busy(clock)
    peer = peer_of(busy)
    ask_three(peer)
    peer.connection.abort()
    clock.advance(1)
    assert busy.asked == ["one"]
