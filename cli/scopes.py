"""Whose jobs a command is about: one's own; others' by ``--client`` and ``--everyone``."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import click

from .shared import Common

EVERYONE = "*"

_LISTS = frozenset({"jobs", "groups", "select"})
"""The questions whose details say whose jobs are meant; elsewhere these are named by their ids."""


def scoped(function: Callable[..., int]) -> Callable[..., int]:
    """Decorate a command with the options; what they say is in ``common.whose``."""

    @click.option("--client", "of_client", metavar="ID", help="Jobs of this client; for operators.")
    @click.option("--everyone", is_flag=True, help="All clients' jobs; for operators.")
    @wraps(function)
    def called(common: Common, of_client: str | None, everyone: bool, **given: Any) -> int:
        if everyone and of_client is not None:
            raise click.UsageError("--everyone means all clients: leave --client out")
        common.whose = EVERYONE if everyone else of_client
        return function(common=common, **given)

    return called


def scoped_details(question: str, details: dict[str, Any], whose: str | None) -> dict[str, Any]:
    """The details of a question, with whose jobs it is about where it asks for a list."""
    if whose is None or question not in _LISTS:
        return details
    return {"client": whose, **details}
