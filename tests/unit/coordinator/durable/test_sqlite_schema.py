"""The versions of a store's tables."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from ampacity.coordinator import migrating
from ampacity.coordinator.schema import METADATA, VERSION
from ampacity.coordinator.transitions import SUCCEEDED
from ampacity.protocol.errors import StoreRefused
from ampacity.protocol.ids import JobId
from sqlalchemy import create_engine
from sqlalchemy.schema import CreateIndex, CreateTable

FIRST = Path(__file__).with_name("schema-0001.sql")


def tables(path: Path) -> dict[str, set[str]]:
    """The columns and indexes of a closed store's tables, and what makes them."""
    with closing(sqlite3.connect(path)) as connection:
        made = connection.execute("SELECT tbl_name, sql FROM sqlite_master WHERE sql NOT NULL")
        found: dict[str, set[str]] = {}
        for table, sql in made:
            found.setdefault(table, set()).add(" ".join(sql.replace("\t", "").split()))
        found.pop("alembic_version")
        return found


def test_the_newest_migration_is_the_version_that_the_code_knows() -> None:
    script = ScriptDirectory.from_config(migrating.config())
    assert script.get_heads() == [VERSION]


@pytest_twisted.ensureDeferred
async def test_migrations_make_the_tables_that_the_code_knows(folder: Any) -> None:
    await folder.open()
    await folder.close()
    engine = create_engine("sqlite://")
    with engine.connect() as connection:
        METADATA.create_all(connection)
        made: dict[str, set[str]] = {}
        for table in METADATA.sorted_tables:
            sql = {str(CreateTable(table).compile(engine))}
            sql |= {str(CreateIndex(index).compile(engine)) for index in table.indexes}
            made[table.name] = {" ".join(line.split()) for line in sql}
    engine.dispose()
    assert tables(folder.database) == made


@pytest_twisted.ensureDeferred
async def test_alembic_finds_no_difference(folder: Any) -> None:
    await folder.open()
    await folder.close()
    engine = create_engine(f"sqlite:///{folder.database}")
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), METADATA) == []
    engine.dispose()


@pytest_twisted.ensureDeferred
async def test_a_store_of_the_first_schema_is_taken_over(folder: Any) -> None:
    """A store as the first release that had one has left it."""
    folder.path.mkdir(mode=0o700)
    with closing(sqlite3.connect(folder.database)) as connection:
        connection.executescript(FIRST.read_text())
    store = await folder.open()
    remembered = store.remembered
    assert store.term == 4
    assert remembered.next_job == 4
    assert [run[:2] for run in remembered.queued] == [(3, 1)]
    one, two, three = await store.jobs([JobId(1), JobId(2), JobId(3)])
    assert not (one.damage or two.damage or three.damage)
    assert (one.state, one.taken, one.key, one.payload) == (SUCCEEDED, True, "k", b"payload")
    (outcome,) = await store.outcomes([JobId(1)])
    assert outcome.body == b"done"
    assert [worker.name for worker in remembered.workers] == ["w1"]
    assert [group.name for group in remembered.groups] == ["n"]
    assert remembered.sessions[0].answers[1].ids == ((1, 3),)
    assert remembered.blobs == {b"b" * 32: 1}


@pytest_twisted.ensureDeferred
async def test_a_newer_schema_is_refused_and_left_alone(folder: Any) -> None:
    await folder.open()
    await folder.close()
    folder.execute("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(StoreRefused, match=r"schema 9999.*knows 0002.*upgrade"):
        await folder.open()
    assert folder.execute("SELECT term FROM meta") == [(1,)]


@pytest_twisted.ensureDeferred
async def test_somebody_elses_database_is_refused(folder: Any) -> None:
    folder.path.mkdir()
    folder.execute("CREATE TABLE jobs (what)")
    with pytest.raises(StoreRefused, match="cannot be opened"):
        await folder.open()
    assert folder.execute("SELECT name FROM sqlite_master") == [("jobs",)]


@pytest_twisted.ensureDeferred
async def test_a_folder_that_cannot_be_made_is_refused(folder: Any) -> None:
    folder.path.write_text("a file")
    with pytest.raises(StoreRefused, match="cannot be opened"):
        await folder.open()
