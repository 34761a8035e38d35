"""Mistakes, put into the real code on purpose, are found within some hundreds of seeds.

A virtual cluster that finds nothing is worth something only if it can find something.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ampacity.client.session import Session
from ampacity.coordinator.attempts import Attempts
from ampacity.coordinator.bindings import BoundWorker
from ampacity.coordinator.deliveries import Deliveries
from ampacity.coordinator.intake import Intake
from ampacity.coordinator.leases import Leases
from ampacity.coordinator.transitions import ENDED
from ampacity.testing.row_store import RowStore
from ampacity.testing.slots import VirtualSlots
from ampacity.tests.virtual.cluster import run_seed
from ampacity.workers.uplink import Uplink
from twisted.internet.defer import succeed

SEEDS = 400

SEEN = (301, 379, 137, 245)
"""Seeds that have found the mistakes that are rarely felt; the others are looked at after them."""

Patch = Callable[[pytest.MonkeyPatch], None]


def accept_stale_reports(patch: pytest.MonkeyPatch) -> None:
    def current(self: Any, worker: Any, number: Any, attempt: Any) -> Any:
        job = self._state.jobs.get(number)
        return job if job is not None and job.worker is not None and job.state < ENDED else None

    patch.setattr(Attempts, "_current", current)
    patch.setattr(VirtualSlots, "drop", lambda self, unwanted: None)
    patch.setattr(Uplink, "drop", lambda self, unwanted: None)


def forget_reports_with_the_connection(patch: pytest.MonkeyPatch) -> None:
    def disconnected(self: Any) -> None:
        self._unanswered.clear()
        real(self)

    real = Uplink.disconnected
    patch.setattr(Uplink, "disconnected", disconnected)


def acknowledge_before_the_commit(patch: pytest.MonkeyPatch) -> None:
    def commit(self: Any, writes: Any) -> None:
        done = real(self, writes)
        if done is not None:
            done.addErrback(lambda _: None)

    real = RowStore.commit
    patch.setattr(RowStore, "commit", commit)


def take_a_resent_frame_for_a_new_one(patch: pytest.MonkeyPatch) -> None:
    def submit(self: Any, event: Any) -> None:
        session = self._state.sessions.get(event.session)
        if session is not None:
            session.answers.clear()
            session.seen.clear()
            session.next_sequence = min(session.next_sequence, event.sequence)
        real(self, event)

    real = Intake._submit
    patch.setattr(Intake, "_submit", submit)


def deliver_nothing_again(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Deliveries, "_catch_up", lambda self, session: None)


def deliver_twice(patch: pytest.MonkeyPatch) -> None:
    def delivered(self: Any, outcomes: Any) -> Any:
        for delivery in outcomes:
            entry = self._jobs.get(delivery.job)
            if entry is not None and not isinstance(entry, list) and delivery.job % 5 == 0:
                entry.has_ended(delivery.ending, delivery.body)
        return real(self, outcomes)

    real = Session.delivered
    patch.setattr(Session, "delivered", delivered)


def keep_leases_for_ever(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Leases, "expired", lambda self, worker: None)


def give_attempts_up_at_once(patch: pytest.MonkeyPatch) -> None:
    """And let the worker that still has them go on."""

    def left(self: Any, event: Any) -> None:
        real(self, event._replace(goodbye=True))

    real = Leases.left
    patch.setattr(Leases, "left", left)
    patch.setattr(VirtualSlots, "drop", lambda self, unwanted: None)


def acknowledge_what_is_not_recorded(patch: pytest.MonkeyPatch) -> None:
    def finished(self: Any, reports: Any) -> Any:
        if len(reports) > 1:
            reports = reports[1:]
        return real(self, reports) if self.port is not None else succeed(None)

    real = BoundWorker.finished
    patch.setattr(BoundWorker, "finished", finished)


@pytest.mark.parametrize(
    "mistake",
    [
        accept_stale_reports,
        forget_reports_with_the_connection,
        acknowledge_before_the_commit,
        take_a_resent_frame_for_a_new_one,
        deliver_nothing_again,
        deliver_twice,
        keep_leases_for_ever,
        give_attempts_up_at_once,
        acknowledge_what_is_not_recorded,
    ],
)
def test_a_mistake_is_found(
    mistake: Patch,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    logged_errors: Callable[..., object],
) -> None:
    mistake(monkeypatch)
    for seed in (*SEEN, *range(1, SEEDS)):
        if wrong := run_seed(seed, tmp_path).wrong:
            print(f"seed {seed}: {wrong[0]}")
            break
    else:
        pytest.fail(f"{mistake.__name__} was not found in {SEEDS} seeds")
    logged_errors()
    monkeypatch.undo()
    assert not run_seed(seed, tmp_path).wrong, "the seed is wrong without the mistake, too"
    logged_errors()
