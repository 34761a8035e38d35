"""What a coordinator may keep, from the settings: ages, numbers and sizes."""

from __future__ import annotations

from typing import Any

import click

from ..coordinator.settings import Settings as Bounds
from .settings import Settings

FIELDS = {
    "retain_age": "retain_age",
    "retain_unfetched": "retain_untaken",
    "retain_jobs": "retain_jobs",
    "retain_bytes": "retain_bytes",
    "queue_jobs": "queue_jobs",
    "queue_bytes": "queue_bytes",
    "client_jobs": "client_jobs",
    "client_bytes": "client_bytes",
    "client_retain_jobs": "client_retain_jobs",
    "client_retain_bytes": "client_retain_bytes",
    "client_connections": "client_connections",
    "client_sessions": "client_sessions",
    "client_uploads": "client_uploads",
    "value_bytes": "value_bytes",
    "waiting_connections": "waiting_connections",
    "greeting_seconds": "greeting_seconds",
    "greeting_bytes": "greeting_bytes",
    "box_bytes": "box_bytes",
    "box_keys": "box_keys",
    "asks_outstanding": "asks_outstanding",
    "ask_bytes": "ask_bytes",
    "name_length": "name_length",
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
    try:
        return Bounds(**given)
    except ValueError as e:
        raise click.UsageError(f"the settings of the coordinator do not fit: {e}") from None
