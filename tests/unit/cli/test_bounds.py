"""How much a coordinator keeps, as the settings have it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import attrs
import click
import pytest
from ampacity.cli.bounds import FIELDS, bounds_of
from ampacity.cli.settings import BY_KEY, Settings
from ampacity.coordinator.settings import Settings as Bounds


def settings(folder: Path, text: str, **environ: str) -> Settings:
    path = folder / "config.toml"
    path.write_text(text)
    return Settings({}, {"AMPACITY_CONFIG": str(path), **environ}, folder / "none.toml")


@pytest.mark.parametrize("key", FIELDS)
def test_the_defaults_that_are_shown_are_the_coordinators(key: str) -> None:
    assert BY_KEY[key].default == getattr(Bounds(), FIELDS[key])


def test_what_is_not_set_is_the_coordinators_own(tmp_path: Path) -> None:
    assert bounds_of(settings(tmp_path, "")) == Bounds()


def test_ages_numbers_and_sizes(tmp_path: Path) -> None:
    text = 'retain_age = "2d"\nretain_jobs = 500\nqueue_bytes = "1GiB"\n'
    found = bounds_of(settings(tmp_path, text, AMPACITY_RETAIN_BYTES="10MiB"))
    expected: dict[str, Any] = {"retain_age": 172800.0, "retain_jobs": 500, "queue_bytes": 1 << 30}
    assert found == attrs.evolve(Bounds(), **expected, retain_bytes=10 << 20)


def test_what_does_not_fit(tmp_path: Path) -> None:
    with pytest.raises(click.UsageError, match="a size is written like"):
        bounds_of(settings(tmp_path, 'queue_bytes = "much"\n'))


def test_below_what_peers_rely_on_there_is_no_bound(tmp_path: Path) -> None:
    with pytest.raises(click.UsageError, match="box_bytes is 2097152 or more"):
        bounds_of(settings(tmp_path, 'box_bytes = "1MiB"\n'))
    with pytest.raises(click.UsageError, match="name_length is 200 at most"):
        bounds_of(settings(tmp_path, "name_length = 300\n"))


def test_every_setting_of_the_coordinator_that_bounds_peers_can_be_set() -> None:
    patience = {"lease", "recall", "session_grace", "session_keep", "recovery", "blob_keep"}
    jobs_own = {"max_losses", "max_backoff"}
    names = {field.name for field in attrs.fields(Bounds)} - patience - jobs_own
    assert set(FIELDS.values()) == names
