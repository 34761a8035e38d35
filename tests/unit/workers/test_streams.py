"""Splitting a child's streams by job, and keeping their ends."""

from __future__ import annotations

import itertools

from ampacity.protocol.limits import LOG_HEAD, LOG_TAIL
from ampacity.workers.errands import marker
from ampacity.workers.streams import HeadTail, Splitter
from hypothesis import given
from hypothesis import strategies as st

NONCE = b"0123456789abcdef"


def split(pieces):
    """What each job printed, and how many markers were passed."""
    found: dict[int, bytes] = {}

    def take(number, data):
        assert data
        found[number] = found.get(number, b"") + data

    splitter = Splitter(NONCE, take, lambda: None)
    for piece in pieces:
        splitter.feed(piece)
    splitter.end()
    return found, splitter.passed


def test_bytes_go_to_the_job_before_their_marker():
    data = b"noise" + marker(NONCE, 0) + b"one" + marker(NONCE, 1) + marker(NONCE, 2) + b"three"
    assert split([data]) == ({0: b"noise", 1: b"one", 3: b"three"}, 3)


@given(
    st.lists(st.binary(max_size=30) | st.just(NONCE) | st.just(marker(NONCE, 9)), max_size=6),
    st.integers(1, 40),
)
def test_any_cutting_gives_the_same(texts, size):
    data = b"".join(text + marker(NONCE, n) for n, text in enumerate(texts))
    pieces = [data[start : start + size] for start in range(0, len(data), size)]
    expected = {n: text for n, text in enumerate(texts) if text}
    assert split(pieces) == (expected, len(texts))


def test_the_beginning_of_a_marker_that_is_none_is_kept():
    assert split([b"abc" + marker(NONCE, 0)[:10]]) == ({0: b"abc" + NONCE[:10]}, 0)
    assert split([NONCE[:10], b"xyz"]) == ({0: NONCE[:10] + b"xyz"}, 0)


def test_markers_of_a_wrong_number_are_output():
    assert split([marker(NONCE, 5)]) == ({0: marker(NONCE, 5)}, 0)


def test_little_output_is_kept_whole():
    kept = HeadTail()
    kept.add(b"ab")
    kept.add(b"cd")
    assert kept.log() == (b"abcd", 0, b"")
    assert kept.last(3) == b"bcd"


@given(st.lists(st.integers(0, 70_000), max_size=8))
def test_head_and_tail_state_their_gap(sizes):
    kept = HeadTail()
    counter = itertools.count()
    whole = b"".join(bytes([next(counter) % 251]) * size for size in sizes)
    start = 0
    for size in sizes:
        kept.add(whole[start : start + size])
        start += size
    head, gap, tail = kept.log()
    assert head == whole[:LOG_HEAD]
    assert len(head) + gap + len(tail) == len(whole)
    assert tail == whole[LOG_HEAD:][-LOG_TAIL:]
    assert kept.last(100) == whole[-100:]
