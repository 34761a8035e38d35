"""Plans and schedules: drawn from the seed alone, and what the flags say."""

from __future__ import annotations

from collections import Counter

import pytest
from ampacity.cli.chaos_plan import KINDS, LEAST, items, make_plan, right_value
from ampacity.cli.chaos_schedule import FAULTS, make_schedule, parse_faults


def test_one_seed_is_one_plan_and_one_schedule() -> None:
    assert make_plan(7, 500, 30.0, 2, True) == make_plan(7, 500, 30.0, 2, True)
    assert make_plan(7, 500, 30.0, 2, True) != make_plan(8, 500, 30.0, 2, True)
    assert make_schedule(7, 30.0, FAULTS) == make_schedule(7, 30.0, FAULTS)
    assert make_schedule(7, 30.0, FAULTS) != make_schedule(8, 30.0, FAULTS)


@pytest.mark.parametrize("jobs", [20, 500, 10_000])
@pytest.mark.parametrize("retries", [True, False])
def test_a_plan_has_as_many_jobs_as_it_shall_of_every_kind(jobs: int, retries: bool) -> None:
    plan = make_plan(1, jobs, 60.0, 3, retries)
    assert [task.job for task in plan] == list(range(jobs))
    kinds = Counter(task.kind for task in plan)
    assert set(LEAST) | {"item"} <= set(kinds) <= set(KINDS)
    assert retries or "flaky" not in kinds
    assert {task.client for task in items(plan)} == {0}
    assert all(0 <= task.at < 60.0 for task in plan)
    assert len({right_value(task) for task in plan}) == jobs


def test_a_fault_left_out_changes_nothing_of_the_others() -> None:
    few = {name: fault for name, fault in FAULTS.items() if name != "reset"}
    rest = [strike for strike in make_schedule(7, 60.0, FAULTS) if strike.fault != "reset"]
    assert make_schedule(7, 60.0, few) == rest


def test_faults_strike_as_often_as_they_shall_and_are_over_in_time() -> None:
    strikes = make_schedule(3, 600.0, parse_faults("kill-worker=2 stop-worker=10"))
    counts = Counter(strike.fault for strike in strikes)
    assert counts["kill-worker"] in (299, 300)
    assert counts["stop-worker"] in (59, 60)
    assert all(strike.at + strike.lasting <= 600.0 for strike in strikes)
    assert strikes == sorted(strikes)


def test_even_a_short_run_is_struck_by_each_fault() -> None:
    assert {strike.fault for strike in make_schedule(3, 5.0, FAULTS)} == set(FAULTS)


def test_faults_as_they_are_written() -> None:
    text = "reset,kill-worker=2,silence=12:20"
    faults = parse_faults(text)
    assert [fault.every for fault in faults.values()] == [FAULTS["reset"].every, 2, 12]
    assert list(faults["silence"].lasting) == [20.0, 20.0]
    assert ",".join(fault.shown(name) for name, fault in faults.items()) == text


@pytest.mark.parametrize(
    "text", ["fire", "reset=0", "reset=x", "reset=inf", "reset=nan", "slow=3:x"]
)
def test_faults_that_are_none(text: str) -> None:
    with pytest.raises(ValueError, match=r"there is no fault|is no number of seconds"):
        parse_faults(text)
