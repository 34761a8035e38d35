"""The table of settings and where their values come from."""

from __future__ import annotations

from pathlib import Path

import click
import pytest
from ampacity.cli.settings import TABLE, Settings, duration, read_file, size, twist_parameters


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90", 90.0),
        ("2h", 7200.0),
        ("1h30m", 5400.0),
        ("500ms", 0.5),
        ("1.5 s", 1.5),
        ("2d", 172800),
    ],
)
def test_durations(text: str, seconds: float) -> None:
    assert duration(text) == seconds


@pytest.mark.parametrize("text", ["", "h", "2 weeks", "-5", "1h30", "nan", "1e3", "5x"])
def test_no_durations(text: str) -> None:
    with pytest.raises(ValueError, match="a duration is written like"):
        duration(text)


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("4096", 4096),
        ("512MiB", 512 << 20),
        ("10k", 10240),
        ("1GB", 10**9),
        ("1.5 KiB", 1536),
        ("7b", 7),
    ],
)
def test_sizes(text: str, count: int) -> None:
    assert size(text) == count


@pytest.mark.parametrize("text", ["", "MiB", "-5", "5 X", "1e3"])
def test_no_sizes(text: str) -> None:
    with pytest.raises(ValueError, match="a size is written like"):
        size(text)


def settings(folder: Path, flags: dict[str, str], **environ: str) -> Settings:
    return Settings(
        flags,
        {"AMPACITY_CONFIG": str(folder / "user.toml"), **environ},
        folder / "system.toml",
    )


def test_the_order_of_the_sources(tmp_path: Path) -> None:
    found = settings(tmp_path, {})
    assert found.resolve("patience")[1:] == (None, "default")
    (tmp_path / "system.toml").write_text('patience = "1m"\nslots = 3\n')
    found = settings(tmp_path, {})
    assert found.resolve("patience")[1:] == (60.0, str(tmp_path / "system.toml"))
    (tmp_path / "user.toml").write_text("patience = 7\n")
    assert settings(tmp_path, {}).resolve("patience")[1:] == (7.0, str(tmp_path / "user.toml"))
    found = settings(tmp_path, {}, AMPACITY_PATIENCE="8")
    assert found.resolve("patience")[1:] == (8.0, "AMPACITY_PATIENCE")
    found = found.over({"patience": "9", "slots": None})
    assert found.resolve("patience")[1:] == (9.0, "--patience")
    assert found["slots"] == 3


def test_several_values(tmp_path: Path) -> None:
    (tmp_path / "user.toml").write_text('listen = ["tcp:1", "tcp:2"]\n')
    assert settings(tmp_path, {})["listen"] == ("tcp:1", "tcp:2")
    assert settings(tmp_path, {}, AMPACITY_LISTEN="tcp:3 tcp:4")["listen"] == ("tcp:3", "tcp:4")
    assert settings(tmp_path, {}).over({"listen": ("tcp:5",)})["listen"] == ("tcp:5",)
    assert settings(tmp_path, {}).over({"listen": ()})["listen"] == ("tcp:1", "tcp:2")


def test_a_value_that_does_not_fit_names_its_source(tmp_path: Path) -> None:
    with pytest.raises(click.UsageError, match="AMPACITY_SLOTS: 'many' does not fit"):
        settings(tmp_path, {}, AMPACITY_SLOTS="many")["slots"]
    with pytest.raises(click.UsageError, match="--log-level: 'loud' does not fit: it is one of"):
        settings(tmp_path, {"log_level": "loud"})["log_level"]


def test_a_file_that_does_not_fit(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text("slot = 3")
    with pytest.raises(click.UsageError, match="there is no setting 'slot'; did you mean slots"):
        read_file(path)
    path.write_text("slots = ")
    with pytest.raises(click.UsageError, match="cannot be read"):
        read_file(path)
    assert read_file(tmp_path / "none.toml") == {}


def test_secrets_are_hidden(tmp_path: Path) -> None:
    found = settings(tmp_path, {}, AMPACITY_TOKEN="amp1.secret").resolve("token")
    assert (found.value, found.shown()) == ("amp1.secret", "(hidden)")


def test_no_secret_has_a_flag() -> None:
    assert not any(setting.flag for setting in TABLE if setting.secret)


def test_the_plugins_have_the_same_options() -> None:
    assert twist_parameters("token_file") == [
        ["token-file", None, None, "A file that holds the token for ADDRESS."]
    ]
