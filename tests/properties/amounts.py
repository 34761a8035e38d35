"""How much is tried: a little in ``make test``, more and more in ``make fuzz``."""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, settings

ORDINARY = 100
"""Hypothesis' own number of examples; the profile ``fuzz`` of ``conftest.py`` has more."""


def examples(number: int, **more: Any) -> settings:
    """So many in ``make test``, the profile's multiple of it in ``make fuzz``."""
    times = settings.default.max_examples / ORDINARY if settings.default else 1.0
    given = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow], **more}
    return settings(max_examples=max(1, round(number * times)), **given)
