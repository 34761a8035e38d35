"""The same with trial: ``trial test_gallery_trial``."""

from ampacity import JobCancelled
from ampacity.testing import ManualPool
from gallery import Gallery
from twisted.trial.unittest import SynchronousTestCase


class GalleryTests(SynchronousTestCase):
    def setUp(self):
        self.pool = ManualPool()
        self.gallery = Gallery(self.pool, self.pool.reactor)

    def test_nothing_is_there_before_the_job_has_run(self):
        job = self.pool.submit(str.upper, "cat")
        self.assertNoResult(job.result())
        self.pool.run_next()
        self.assertEqual(self.successResultOf(job.result()), "CAT")

    def test_somebody_else_may_cancel_it(self):
        job = self.pool.submit(str.upper, "cat")
        self.pool.next().cancel()
        self.failureResultOf(job.result(), JobCancelled)
