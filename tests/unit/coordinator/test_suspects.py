"""Addresses that fail wait longer; nobody else does, and the table stays small."""

from __future__ import annotations

from ampacity.coordinator.suspects import ADDRESSES, FIRST, FORGOTTEN, FREE, LONGEST, Suspects
from hypothesis import given
from hypothesis import strategies as st


def failed(times: int, now: float = 0.0) -> Suspects:
    suspects = Suspects()
    for _ in range(times):
        suspects.failed("a", now)
    return suspects


def test_a_few_mistakes_cost_nothing() -> None:
    assert failed(FREE).delay("a", 0.0) == 0.0


def test_from_then_on_the_wait_doubles_up_to_a_bound() -> None:
    waits = [failed(FREE + more).delay("a", 0.0) for more in range(1, 40)]
    assert waits[:7] == [FIRST * 2**n for n in range(7)]
    assert set(waits[7:]) == {LONGEST}


def test_a_success_forgets_it() -> None:
    suspects = failed(20)
    suspects.succeeded("a")
    assert suspects.delay("a", 0.0) == 0.0
    assert len(suspects) == 0


def test_a_minute_forgets_it() -> None:
    suspects = failed(20)
    assert suspects.delay("a", FORGOTTEN - 0.1) == LONGEST
    assert suspects.delay("a", FORGOTTEN) == 0.0
    assert len(suspects) == 0


def test_failures_far_apart_do_not_add_up() -> None:
    suspects = Suspects()
    for n in range(50):
        suspects.failed("a", n * FORGOTTEN)
    assert suspects.delay("a", 49 * FORGOTTEN) == 0.0


def test_another_address_is_not_harmed() -> None:
    assert failed(50).delay("b", 0.0) == 0.0


steps = st.lists(
    st.tuples(
        st.sampled_from(["failed", "succeeded", "delay"]),
        st.integers(0, 40).map(str),
        st.floats(0, 30, allow_nan=False),
    ),
    max_size=200,
)


@given(steps)
def test_the_table_is_bounded_and_the_delay_as_a_plain_history_has_it(
    steps: list[tuple[str, str, float]],
) -> None:
    suspects, now = Suspects(most=1000), 0.0
    history: dict[str, list[float]] = {}
    for what, address, later in steps:
        now += later
        if what == "failed":
            before = history.get(address, [])
            lately = before and now - before[-1] < FORGOTTEN
            history[address] = [*before, now] if lately else [now]
            suspects.failed(address, now)
        elif what == "succeeded":
            history.pop(address, None)
            suspects.succeeded(address)
        else:
            times = history.get(address, [])
            count = len(times) if times and now - times[-1] < FORGOTTEN else 0
            wait = min(FIRST * 2 ** (count - FREE - 1), LONGEST) if count > FREE else 0.0
            assert suspects.delay(address, now) == wait


@given(st.integers(1, 50), st.integers(1, 300))
def test_of_too_many_the_one_that_failed_longest_ago_goes(most: int, addresses: int) -> None:
    suspects = Suspects(most)
    for number in range(addresses):
        for _ in range(FREE + 1):
            suspects.failed(str(number), 0.0)
    assert len(suspects) == min(most, addresses)
    assert suspects.delay(str(addresses - 1), 0.0) == FIRST
    assert most <= ADDRESSES
