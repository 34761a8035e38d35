"""What a coordinator may keep, from the settings: ages, numbers and sizes."""

from __future__ import annotations

from typing import Any

from ..coordinator.settings import Settings as Bounds
from .settings import Settings

FIELDS = {
    "retain_age": "retain_age",
    "retain_unfetched": "retain_untaken",
    "retain_jobs": "retain_jobs",
    "retain_bytes": "retain_bytes",
    "queue_jobs": "queue_jobs",
    "queue_bytes": "queue_bytes",
}
"""The coordinator's own names by those of the settings."""


def bounds_of(settings: Settings) -> Bounds:
    """The coordinator's bounds, as far as somebody has set them; its own defaults otherwise.

    Raises:
        click.UsageError: a value does not fit.
    """
    found = {field: settings.resolve(key) for key, field in FIELDS.items()}
    given: dict[str, Any] = {
        field: one.value for field, one in found.items() if one.source != "default"
    }
    return Bounds(**given)
