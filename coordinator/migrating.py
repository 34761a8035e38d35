"""Brings the tables of a store to this release's version when it is opened."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ..protocol.errors import StoreRefused
from .schema import VERSION

if TYPE_CHECKING:
    from alembic.config import Config

FOLDER: Final = Path(__file__).with_name("migrations")


def config() -> Config:
    """Alembic's configuration, without a file."""
    from alembic.config import Config

    config = Config()
    # a % has a meaning in these values
    config.set_main_option("script_location", str(FOLDER).replace("%", "%%"))
    return config


def migrate(connection: sqlite3.Connection) -> bool:
    """Make the tables, or change those of an older release; whether there were none.

    All of it is one transaction.

    Raises:
        StoreRefused: a newer release has made the tables.
    """
    version = version_of(connection)
    if version == VERSION:
        return False
    connection.execute("BEGIN IMMEDIATE")
    try:
        _upgrade(connection, version)
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    return version is None


def version_of(connection: sqlite3.Connection) -> str | None:
    """The version of a store's tables; None: there are none."""
    found = connection.execute(
        "SELECT name FROM sqlite_master WHERE type = 'table' AND name = 'alembic_version'"
    ).fetchall()
    if not found:
        return None
    versions = connection.execute("SELECT version_num FROM alembic_version").fetchall()
    return str(versions[0][0]) if versions else None


def _upgrade(connection: sqlite3.Connection, version: str | None) -> None:
    from alembic import command
    from alembic.script import ScriptDirectory
    from sqlalchemy import create_engine
    from sqlalchemy.exc import DBAPIError
    from sqlalchemy.pool import StaticPool

    settings = config()
    known = {script.revision for script in ScriptDirectory.from_config(settings).walk_revisions()}
    if version is not None and version not in known:
        raise StoreRefused(
            f"this store has the schema {version}, and this ampacity knows {VERSION} and older "
            "ones: a newer ampacity has written it; upgrade this one, or use a backup from before"
        )
    # the connection ends no transaction but by our own statements: all the versions are in one
    engine = create_engine(
        "sqlite://",
        creator=lambda: connection,
        poolclass=StaticPool,
        pool_reset_on_return=None,
    )
    try:
        with engine.connect() as upgraded:
            settings.attributes["connection"] = upgraded
            command.upgrade(settings, "head")
    except DBAPIError as error:
        raise error.orig or error from None
