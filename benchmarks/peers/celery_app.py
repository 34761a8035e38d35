"""The application that Celery's worker and its client load; the environment says where Redis is."""

from __future__ import annotations

import os

from celery import Celery

from .. import jobs
from .celery_settings import REDIS, TUNED

_path = os.environ[REDIS]

app = Celery("benchmark", broker=f"redis+socket://{_path}", backend=f"redis+socket://{_path}")
if os.environ.get(TUNED):
    app.conf.update(
        worker_prefetch_multiplier=64,
        worker_send_task_events=False,
        task_send_sent_event=False,
        worker_disable_rate_limits=True,
        task_store_errors_even_if_ignored=False,
        result_expires=60,
    )

noop = app.task(name="noop")(jobs.noop)
spin = app.task(name="spin")(jobs.spin)
