"""What a child and its agent leave for each other in their file."""

from __future__ import annotations

import os
import pickle
import threading
import time

import pytest
from ampacity.protocol.ids import Attempt, ClientId, JobId
from ampacity.protocol.jobs import JobSpec, pack_spec
from ampacity.protocol.packing import pack
from ampacity.workers.errands import Done, marker
from ampacity.workers.given import Given
from ampacity.workers.held import Held, Plan
from ampacity.workers.journal import SIZE, Journal, SharedFile

NONCE = b"0123456789abcdef"


@pytest.fixture
def both():
    shared = SharedFile()
    yield shared, Journal(shared.descriptor)
    shared.close()


def test_reports_stand_there_until_they_are_sent(both):
    shared, journal = both
    assert shared.unsent() == (0, 0.0, 0, b"")
    journal.begin(1, 12.5)
    assert [journal.add(b"one"), journal.add(b"three")] == [1, 2]
    assert shared.unsent() == (1, 12.5, 2, b"onethree")
    assert journal.unsent() == (2, b"onethree")
    journal.sent()
    journal.begin(2, 13.5)
    assert shared.unsent() == (2, 13.5, 0, b"")


def test_what_has_no_room_is_not_kept(both):
    shared, journal = both
    assert journal.add(b"x" * SIZE) == 0
    assert journal.add(b"y" * (SIZE // 2)) == 1
    assert journal.add(b"z" * (SIZE // 2)) == 0
    assert shared.unsent() == (0, 0.0, 1, b"y" * (SIZE // 2))


def test_what_changes_all_the_time_is_not_looked_at_for_ever(both):
    shared, journal = both
    over = threading.Event()

    def change():
        while not over.is_set():
            journal.add(b"x")
            journal.sent()

    thread = threading.Thread(target=change)
    thread.start()
    try:
        for _ in range(200):
            seen = shared.unsent()
            assert seen is None or seen.reports == b"x" * seen.number
    finally:
        over.set()
        thread.join()


def test_a_child_that_cuts_the_file_harms_nobody(both):
    shared, _ = both
    os.ftruncate(shared.descriptor, 10)
    assert shared.unsent() is None
    os.ftruncate(shared.descriptor, SIZE)


def test_reads_of_output_are_told_before_and_after(both):
    shared, journal = both
    out, into = os.pipe()
    try:
        os.write(into, b"hello")
        assert (journal.reads(), journal.read()) == (0, (0, 0, 0))
        assert shared.read_output(1, out, 100) == b"hello"
        assert (journal.reads(), journal.read()) == (1, (1, 5, 0))
        os.set_blocking(out, False)
        with pytest.raises(BlockingIOError):
            shared.read_output(2, out, 100)
        assert (journal.reads(), journal.read()) == (2, (2, 5, 0))
    finally:
        os.close(out)
        os.close(into)


class Scene:
    """A child's jobs, and the child's side of the journal."""

    def __init__(self, count):
        self.printed = []
        self.given = Given(NONCE, lambda held, stream, data: self.printed.append((held.job, data)))
        self.journal = Journal(self.given.shared.descriptor)
        spec = pack_spec(JobSpec(kind="import", target="m:f"))
        plan = Plan(ClientId("a"), spec, "here")
        payload = pickle.dumps(((), {}))
        self.given.add([Held(JobId(n), Attempt(1, 1), plan, payload) for n in range(1, count + 1)])
        self.pipe = []
        for stream in (1, 2):
            self.given.feed(stream, marker(NONCE, 0))

    def look(self):
        self.given.bring_up_to_date(self.read)

    def read(self):
        sent, self.pipe = self.pipe, []
        self.given.note(sent)

    def run(self, number, marked=False, sent=False):
        """A job runs from its begin to its report."""
        os.read(self.given.permits.child_end, 1)
        self.journal.begin(number, float(number))
        done = Done(number, float(number), number + 0.5, 1, b"", [], True, 0, marked)
        if sent:
            self.pipe.append(done)
        else:
            self.journal.add(pack(tuple(done)))

    def over(self):
        return [held.job for held in self.given.take_over()]

    def close(self):
        self.given.take_back()
        self.given.close()


@pytest.fixture
def scene():
    scene = Scene(6)
    yield scene
    scene.close()


def test_jobs_that_printed_nothing_are_over_with_their_report(scene):
    scene.run(1, sent=True)
    scene.run(2)
    assert scene.over() == []
    scene.look()
    assert scene.over() == [1, 2]
    assert scene.given.running() is None


def test_what_is_sent_and_in_the_journal_counts_once(scene):
    scene.run(1)
    scene.look()
    scene.pipe.append(Done(1, 1.0, 1.5, 1, b"", [], True, 0, False))
    scene.journal.sent()
    scene.run(2)
    scene.look()
    assert scene.over() == [1, 2]


def test_the_running_job_and_its_begin_are_known(scene):
    scene.run(1)
    os.read(scene.given.permits.child_end, 1)
    now = time.monotonic()
    scene.journal.begin(2, now)
    scene.look()
    held, since = scene.given.running_since()
    assert (held.job, since) == (2, now)
    assert scene.given.running().job == 2
    assert [held.job for held in scene.given.take_back()] == [3, 4, 5, 6]


def test_nonsense_in_the_journal_is_left_alone(scene):
    scene.run(1)
    scene.journal.add(b"\xc1 nonsense")
    os.read(scene.given.permits.child_end, 1)
    for began in (float("nan"), float("inf"), -1.0):
        scene.journal.begin(1, began)
        scene.look()
        assert scene.given.running_since() is None
        assert 0 < scene.given.mark <= time.monotonic()
    scene.pipe.append(Done(1, 1.0, 1.5, 1, b"", [], True, 0, False))
    scene.look()
    assert scene.over() == [1]


def test_output_is_that_of_the_next_job_that_printed_any(scene):
    scene.run(1)
    scene.run(2, marked=True)
    scene.run(3)
    scene.look()
    scene.given.feed(1, b"two" + marker(NONCE, 1))
    assert scene.over() == [1]
    scene.given.feed(2, marker(NONCE, 1))
    assert scene.over() == [2, 3]
    assert scene.printed == [(2, b"two")]


def test_output_before_any_report_is_that_of_the_running_job(scene):
    scene.run(1, sent=True)
    scene.run(2)
    scene.look()
    scene.given.feed(1, b"three")
    assert scene.printed == [(3, b"three")]


def test_one_stream_may_be_ahead_of_the_other(scene):
    for number in (1, 2, 3):
        scene.run(number, marked=True)
    scene.look()
    scene.given.feed(1, b"a" + marker(NONCE, 1) + b"b" + marker(NONCE, 2) + b"c")
    scene.given.feed(2, b"x" + marker(NONCE, 1) + b"y")
    assert scene.over() == [1]
    scene.given.feed(2, marker(NONCE, 2) + b"z" + marker(NONCE, 3))
    scene.given.feed(1, marker(NONCE, 3))
    assert scene.over() == [2, 3]
    assert scene.printed == [
        (1, b"a"), (2, b"b"), (3, b"c"), (1, b"x"), (2, b"y"), (3, b"z"),
    ]  # fmt: skip


def test_output_of_nobody_is_noise(scene):
    for number in range(1, 7):
        scene.run(number)
    scene.look()
    assert len(scene.over()) == 6
    scene.given.feed(2, b"late")
    assert scene.printed == []
    assert scene.given.noise.last(10) == b"late"
