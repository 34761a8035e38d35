"""Output that is sent again is told once."""

from __future__ import annotations

from ampacity.client.followed import Followed
from ampacity.protocol.ids import JobId
from twisted.internet.defer import Deferred, succeed


def test_what_was_told_is_not_told_again():
    told: list[tuple[int, bytes]] = []

    def follow(stream: int, data: bytes) -> Deferred[bool]:
        told.append((stream, data))
        return succeed(True)

    followed, job = Followed(), JobId(1)
    followed[job] = follow
    for stream, offset, data in [
        (1, 0, b"abc"),
        (2, 0, b"err"),
        (1, 0, b"abc"),
        (1, 1, b"bcde"),
        (1, 5, b"f"),
    ]:
        assert followed.output(job, stream, offset, data).result is True
    assert told == [(1, b"abc"), (2, b"err"), (1, b"de"), (1, b"f")]
    del followed[job]
    assert followed.output(job, 1, 6, b"g").result is False


def test_what_was_told_is_kept_as_long_as_somebody_follows():
    followed = Followed()
    told: list[bytes] = []

    def follow(stream: int, data: bytes) -> Deferred[bool]:
        told.append(data)
        return succeed(True)

    for number in map(JobId, range(1000)):
        followed[number] = follow
        followed.output(number, 1, 0, b"ab")
        followed[number] = follow  # the same job, followed anew
        followed.output(number, 1, 0, b"abc")
        assert followed.pop(number) is follow
    assert told == [b"ab", b"c"] * 1000
    assert not followed
    assert not followed._jobs
