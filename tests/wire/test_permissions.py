"""The table of who may ask what, cell by cell, over connections to a real coordinator's sessions.

``ASKED`` is the specification, written apart from the table; the commands are those of
``commands.py``, so that a new one without a row is noticed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest
from ampacity.coordinator.client_session import ClientSession
from ampacity.coordinator.driver import Driver
from ampacity.coordinator.permissions import COMMANDS, QUESTIONS, Permitted
from ampacity.coordinator.questions import Questions
from ampacity.coordinator.settings import Settings
from ampacity.coordinator.worker_session import WorkerSession
from ampacity.protocol import commands
from ampacity.protocol.blobs import BlobFolder
from ampacity.protocol.ids import Attempt, ClientId, JobId
from ampacity.protocol.jobs import JobSpec, Submission, pack_spec, pack_submissions
from ampacity.protocol.late import LATE_SECONDS
from ampacity.protocol.outcomes import (
    Ending,
    ErrorText,
    Evidence,
    JobLog,
    Outcome,
    Report,
    Shown,
    StreamLog,
    pack_log,
    pack_outcome,
    pack_reports,
    unpack_outcome,
)
from ampacity.protocol.packing import pack, unpack
from ampacity.protocol.tokens import ROLES
from twisted.internet.defer import execute, succeed
from twisted.internet.task import Clock
from twisted.protocols import amp

_BLOBS = {"PutChunk", "GetChunk", "PutFile", "GetFile"}
_CLIENT = {
    "OpenSession",
    "Submit",
    "CloseGroup",
    "Cancel",
    "Retry",
    "Forget",
    "Watch",
    "Query",
    "Attach",
    "Detach",
    "Goodbye",
    "Ping",
    *_BLOBS,
}
ASKED: dict[str, set[str]] = {
    "worker": {
        "Join",
        "Begun",
        "Finished",
        "Returned",
        "Output",
        "WorkerState",
        "Goodbye",
        "Ping",
        *_BLOBS,
    },
    "client": _CLIENT,
    "operator": {
        *_CLIENT,
        "ReloadWorkers",
        "DrainWorker",
        "Backup",
        "Shutdown",
        "CreateToken",
        "ListTokens",
        "RevokeToken",
    },
    "viewer": {"OpenSession", "Query", "Goodbye", "Ping"},
}
QUESTIONED: dict[str, set[str]] = {
    "worker": set(),
    "client": {*QUESTIONS},
    "operator": {*QUESTIONS},
    "viewer": {*QUESTIONS} - {"result"},
}
ALL_COMMANDS = sorted(
    command.commandName.decode()
    for command in vars(commands).values()
    if isinstance(command, type)
    and issubclass(command, amp.Command)
    and command is not amp.Command
    and not command.__name__.startswith("_")
)

NONE = 127
"""A job that there is not, of as many bytes as the others."""

SECRET = b"xyzzy-secret"
TEXT = SECRET.decode()
BODY = pack_outcome(
    Outcome(
        value=SECRET,
        shown=Shown(True, TEXT, f'"{TEXT}"'),
        error=ErrorText(TEXT, TEXT, TEXT),
        evidence=Evidence(reason=TEXT),
        tail=SECRET,
    )
)


class Desk(amp.CommandLocator):
    """Answers whatever gets as far as this."""

    def locateResponder(self, name: bytes) -> Any:
        return lambda _box: succeed(amp.AmpBox())


@attrs.define(eq=False)
class Seat:
    """A connection of one who was let in."""

    peer: Any
    clock: Clock
    heard: bytes = b""

    def box(self, name: str, **arguments: bytes) -> Any:
        """The answer to a command."""
        boxes = self.peer.ask(name.encode(), **arguments)
        for seconds in [0.0] * 100 + [LATE_SECONDS]:  # some answers wait for so long
            self.clock.advance(seconds)
            boxes += self.peer.heard()
        self.heard += b"".join(box.serialize() for box in boxes)
        (answer,) = (box for box in boxes if b"_answer" in box or b"_error" in box)
        for box in boxes:  # what it is asked meanwhile is taken
            if b"_ask" in box:
                self.peer.send({b"_answer": box[b"_ask"]})
                self.clock.advance(0)
        return answer

    def query(self, question: str, **details: Any) -> Any:
        answer = self.box("Query", question=question.encode(), details=pack(details))
        assert b"_error" not in answer, answer
        parts = [answer.get(b"answer" + (b".%d" % n if n else b""), b"") for n in range(20)]
        return unpack(b"".join(parts))


@attrs.define
class Hall:
    """A coordinator, and who comes to it."""

    driver: Driver
    clock: Clock
    peer_of: Callable[..., Any]
    sessions: int = 0

    def seat(self, role: Any, client: str = "") -> Seat:
        """Somebody of a role, who has opened a session, or joined."""
        peer = self.peer_of()
        connection, blobs = peer.connection, self.driver.blobs
        who = ClientId(client or role)
        session: Any
        if role == "worker":
            session = WorkerSession(self.driver, blobs, connection)
        else:
            session = ClientSession(self.driver, blobs, connection, who, role)
        connection.admit(Permitted(role, session, Desk()))
        seat = Seat(peer, self.clock)
        self.sessions += 1
        if role == "worker":
            seat.box("Join", info=pack(_INFO), held=pack([]))
        else:
            seat.box("OpenSession", session=b"%016d" % self.sessions)
        return seat


_INFO = {
    "name": "w",
    "incarnation": b"i" * 16,
    "slots": 2,
    "python": "3.11",
    "host": "h",
    "software": "0",
    "pid": 1,
}


@pytest.fixture
def hall(clock: Clock, peer_of: Any, tmp_path: Path) -> Iterator[Hall]:
    blobs = BlobFolder(tmp_path / "values", execute)
    blobs.start()
    driver = Driver(clock, blobs, Settings())
    driver.start()
    yield Hall(driver, clock, peer_of)
    driver.stop()


def refusal(answer: Any) -> str:
    """Why the role was refused; nothing where it was not."""
    if answer.get(b"_error_code") != b"NOT_ALLOWED":
        return ""
    text: str = answer[b"_error_description"].decode()
    return text if " may not ask " in text else ""


# -- the table ------------------------------------------------------------------------------------


def test_every_command_has_a_row() -> None:
    assert sorted(name.decode() for name in COMMANDS) == ALL_COMMANDS


def test_every_question_has_a_row(hall: Hall) -> None:
    questions: Questions = hall.driver.questions
    assert set(QUESTIONS) == set(questions._questions)


def test_every_role_is_specified() -> None:
    assert set(ASKED) == set(QUESTIONED) == set(ROLES)


@pytest.mark.parametrize("command", ALL_COMMANDS)
@pytest.mark.parametrize("role", ROLES)
def test_commands_cell_by_cell(hall: Hall, role: str, command: str) -> None:
    told = refusal(hall.seat(role).box(command))
    if command in ASKED[role]:
        assert told == ""
    else:
        article = "an" if role == "operator" else "a"
        assert told.startswith(f"{article} {role} may not ask {command}; ")


@pytest.mark.parametrize("question", sorted(QUESTIONS))
@pytest.mark.parametrize("role", ROLES)
def test_questions_cell_by_cell(hall: Hall, role: str, question: str) -> None:
    told = refusal(hall.seat(role).box("Query", question=question.encode(), details=pack({})))
    assert (told == "") == (question in QUESTIONED[role])


def test_what_is_in_no_table_is_denied(hall: Hall, monkeypatch: Any) -> None:
    monkeypatch.delitem(COMMANDS, b"Shutdown")
    monkeypatch.delitem(QUESTIONS, "status")
    operator = hall.seat("operator")
    assert "nobody may" in refusal(operator.box("Shutdown"))
    assert "nobody may" in refusal(operator.box("Query", question=b"status", details=pack({})))
    assert operator.box("Authenticate")[b"_error_code"] == b"NOT_ALLOWED"


def test_what_is_no_command_is_that_to_everybody(hall: Hall) -> None:
    peer = hall.peer_of()
    session = ClientSession(
        hall.driver, hall.driver.blobs, peer.connection, ClientId("v"), "viewer"
    )
    peer.connection.admit(Permitted("viewer", session))
    (answer,) = peer.ask(b"Nonsense")
    assert answer[b"_error_code"] == amp.UNHANDLED_ERROR_CODE


def test_a_denied_command_is_not_even_read(hall: Hall) -> None:
    """Its arguments are no one's business: what is wrong with them is not told."""
    viewer = hall.seat("viewer")
    assert refusal(viewer.box("Cancel", jobs=b"\xc1", queued_only=b"?"))
    assert not viewer.peer.aborted


# -- what is told ---------------------------------------------------------------------------------


@pytest.fixture
def worked(hall: Hall) -> Hall:
    """Client ``a`` has submitted 1 and 2, all about a secret; 1 has failed, after having failed
    before, and been retried; 2 waits."""
    a, worker = hall.seat("client", "a"), hall.seat("worker")
    spec = pack_spec(
        JobSpec(
            kind="command",
            target=f"echo {TEXT}",
            name="name",
            env=((TEXT, TEXT),),
            folder=TEXT,
            retries=1,
            backoff=0.001,
        )
    )
    frame = [Submission(spec, SECRET, f"{TEXT} {place}", place) for place in range(2)]
    a.box("Submit", sequence=b"1", group=b"1", jobs=pack_submissions(frame))
    for number in (1, 2):
        log = pack_log(JobLog(StreamLog(SECRET)))
        report = Report(JobId(1), Attempt(1, number), Ending.FAILED, 1.0, 0.1, BODY, log=log)
        answer = worker.box("Finished", reports=pack_reports([report]))
        assert b"_answer" in answer
        for _ in range(4):
            hall.clock.advance(0.5)
    assert a.query("job", job=1)["state"] == "failed"
    return hall


def test_nothing_of_a_secret_is_in_any_answer_to_a_viewer(worked: Hall) -> None:
    viewer = worked.seat("viewer")
    for command in ALL_COMMANDS:
        if command not in ("Goodbye", "Query", "OpenSession"):
            viewer.box(command)
            viewer.box(command, jobs=pack([1, 2]), job=b"1", follow=b"True", queued_only=b"False")
    for question in QUESTIONS:
        for details in ({}, {"job": 1}, {"job": 2}, {"group": 1}, {"what": "all"}, {"client": "a"}):
            viewer.box("Query", question=question.encode(), details=pack(details))
    assert viewer.query("job", job=1)["attempts"] == 2
    assert viewer.query("jobs")["jobs"][1]["state"] == "sent"
    worked.clock.advance(1.0)
    assert SECRET not in viewer.heard
    owner = worked.seat("client", "a")
    owner.query("job", job=1)
    assert SECRET in owner.heard


def test_no_value_is_in_any_answer_to_an_operator_who_is_not_its_client(worked: Hall) -> None:
    operator = worked.seat("operator")
    marker = pack(SECRET)  # as the value stands in the body
    own = worked.seat("client", "a")
    assert unpack_outcome(own.query("result", job=1)["body"]).value == SECRET
    for question in ("result", "job"):
        outcome = unpack_outcome(operator.query(question, job=1)["body"])
        assert (outcome.value, outcome.withheld) == (None, True)
        assert outcome.error is not None
    operator.heard = b""
    operator.box("Watch", jobs=pack([1]))
    assert b"Delivered" in operator.heard
    assert operator.heard.count(marker) == BODY.count(marker) - 1
    assert TEXT.encode() in operator.heard


def test_a_client_gets_for_anothers_job_what_it_gets_for_none(worked: Hall) -> None:
    """The same boxes, byte by byte, but for their own numbers."""
    other = worked.seat("client", "b")

    def told(command: str, number: int, **more: bytes) -> Any:
        named = {"jobs": pack([number]), "job": b"%d" % number}
        taken = {"Attach": "job", "Detach": "job"}.get(command, "jobs")
        box = other.box(command, **{taken: named[taken]}, **more)
        values = [
            value.replace(pack(number), b"N")
            for key, value in sorted(box.items())
            if key not in (b"_answer", b"_error")
        ]
        return sorted(box.keys()), values

    for command, more in (
        ("Cancel", {"queued_only": b"False"}),
        ("Retry", {}),
        ("Forget", {}),
        ("Watch", {}),
        ("Attach", {"follow": b"True"}),
        ("Detach", {}),
    ):
        for job in (1, 2):
            assert told(command, job, **more) == told(command, NONE, **more)
    for question in ("job", "result"):
        boxes = [
            other.box("Query", question=question.encode(), details=pack({"job": job}))
            for job in (1, 2, NONE)
        ]
        assert {box[b"_error_code"] for box in boxes} == {b"NO_SUCH_JOB"}
        assert len({box[b"_error_description"] for box in boxes}) == 1
    assert SECRET not in other.heard
    assert worked.seat("client", "a").query("job", job=2)["state"] == "sent"


def test_anothers_session_is_not_taken_over(worked: Hall) -> None:
    peer = worked.peer_of()
    session = ClientSession(
        worked.driver, worked.driver.blobs, peer.connection, ClientId("b"), "operator"
    )
    peer.connection.admit(Permitted("operator", session))
    seat = Seat(peer, worked.clock)
    answer = seat.box("OpenSession", session=b"%016d" % 1)
    assert answer[b"_error_code"] == b"NOT_ALLOWED"
    assert SECRET not in seat.heard


# -- the page -------------------------------------------------------------------------------------


def test_the_page_has_the_same_table() -> None:
    page = Path(__file__).parents[2].joinpath("docs", "reference", "protocol.md").read_text()
    roles = page.partition("### Roles")[2].partition("## Order of things")[0]
    told: dict[str, set[str]] = {role: set() for role in ROLES}
    columns: list[str] = []
    for line in roles.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith(("| command", "| question")):
            columns = cells[1:]
        elif line.startswith("| `"):
            for role, cell in zip(columns, cells[1:], strict=True):
                if cell == "yes":
                    told[role].update(name.strip(" `") for name in cells[0].split(","))
    assert told == {role: ASKED[role] | QUESTIONED[role] for role in ROLES}
