"""Tests of the gallery: plain functions, without a reactor, without processes, without waiting."""

import pytest
from ampacity import QueueFull
from ampacity.testing import (
    Crashes,
    Hangs,
    InlinePool,
    ManualPool,
    Runs,
    VirtualCluster,
    result_of,
)
from gallery import PLACEHOLDER, Busy, Gallery, shrink
from twisted.internet.defer import ensureDeferred


def test_a_thumbnail_is_made():
    pool = InlinePool()
    gallery = Gallery(pool, pool.reactor)
    assert result_of(gallery.thumbnail("cat")) == "cat, small"


def test_what_is_wrong_with_a_picture_is_told():
    pool = InlinePool()
    with pytest.raises(ValueError, match="empty"):
        result_of(Gallery(pool, pool.reactor).thumbnail(""))


def test_a_picture_that_takes_too_long_is_grey():
    pool = InlinePool()
    pool.plan(shrink, Hangs())
    assert result_of(Gallery(pool, pool.reactor).thumbnail("cat")) == PLACEHOLDER


def test_one_that_crashes_is_grey_and_remembered():
    pool = InlinePool()
    pool.plan(shrink, Crashes("SIGSEGV"))
    gallery = Gallery(pool, pool.reactor)
    assert result_of(gallery.thumbnail("cat")) == PLACEHOLDER
    assert gallery.broken == [("cat", "SIGSEGV")]


def test_a_full_queue_is_tried_again():
    pool = InlinePool()
    pool.refuse(QueueFull())
    waiting = ensureDeferred(Gallery(pool, pool.reactor).thumbnail("cat"))
    pool.advance(1)  # the second try is refused as well
    pool.refuse(None)
    pool.advance(2)
    assert result_of(waiting) == "cat, small"


def test_but_not_for_ever():
    pool = InlinePool()
    pool.refuse(QueueFull())
    waiting = ensureDeferred(Gallery(pool, pool.reactor).thumbnail("cat"))
    pool.advance(1 + 2 + 4)
    with pytest.raises(Busy):
        result_of(waiting)


def test_two_are_made_at_the_same_time():
    pool = ManualPool()
    gallery = Gallery(pool, pool.reactor)
    cat, dog = ensureDeferred(gallery.thumbnail("cat")), ensureDeferred(gallery.thumbnail("dog"))
    first, second = pool.waiting
    assert (first.args, second.args) == (("cat",), ("dog",))
    second.run()
    first.crash()
    assert (result_of(cat), result_of(dog)) == (PLACEHOLDER, "dog, small")


def test_a_worker_may_die_and_the_coordinator_too():
    cluster = VirtualCluster(workers=2)
    gallery = Gallery(cluster.pool(), cluster.reactor)
    cluster.plan(shrink, Runs(seconds=15))
    waiting = ensureDeferred(gallery.thumbnail("cat"))
    cluster.advance(10)
    for worker in cluster.workers:
        if worker.running:
            worker.kill()
    cluster.advance(10)  # it runs again, on the other one
    cluster.coordinator.restart()
    assert cluster.wait(waiting) == "cat, small"
