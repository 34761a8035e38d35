"""Chapter 13. Two minutes of waiting, tested in no time."""

from __future__ import annotations

import unittest

from ampacity.testing import ManualPool, result_of
from porter import Porter, picture_or_excuse
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock


class PorterTests(unittest.TestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.said: list[str] = []
        self.picture: Deferred[bytes] = Deferred()
        Porter(self.clock, self.said.append).mind("ada", self.picture)

    def test_says_so_when_it_takes_long(self) -> None:
        self.clock.advance(9.9)
        self.assertEqual(self.said, [])
        self.clock.advance(0.1)
        self.clock.advance(60)
        self.assertEqual(self.said, ["ada is not done after 10 s", "ada is not done after 70 s"])

    def test_is_silent_once_it_is_there(self) -> None:
        self.clock.advance(5)
        self.picture.callback(b"a picture")
        self.clock.advance(3600)
        self.assertEqual(self.said, [])
        self.assertEqual(self.clock.getDelayedCalls(), [])


class ExcuseTests(unittest.TestCase):
    def setUp(self) -> None:
        self.pool = ManualPool()
        self.addCleanup(self.pool.close)
        self.told = Deferred.fromCoroutine(picture_or_excuse(self.pool, "ada"))

    def test_a_picture(self) -> None:
        self.pool.next().succeed(b"1234")
        self.assertEqual(result_of(self.told), "ada hangs: 4 bytes")

    def test_an_excuse_after_three_crashes(self) -> None:
        for _ in range(3):
            self.pool.next().die("SIGSEGV")
        self.assertEqual(result_of(self.told), "ada has broken three brushes")

    def test_an_excuse_after_three_minutes(self) -> None:
        for _ in range(3):
            self.pool.advance(63)  # the time-out, and the pause before the next attempt
        self.assertEqual(result_of(self.told), "ada is too beautiful to be drawn")


if __name__ == "__main__":
    unittest.main()
