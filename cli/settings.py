"""One table of settings: flag, ``AMPACITY_*``, the user's config.toml, /etc's, default.

The command line's options, the options of the twist plugins and ``ampacity config`` are all made
from ``TABLE``.
"""

from __future__ import annotations

import difflib
import os
import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import click

SYSTEM_FILE = Path("/etc/ampacity/config.toml")

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
_PART = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*([a-z]*)")
_SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*([kmgt]?)(i?)b?", re.I)


def duration(text: str) -> float:
    """``90``, ``2h``, ``1h30m``, ``500ms`` in seconds.

    Raises:
        ValueError: the text is no duration.
    """
    compact = text.strip().lower()
    if re.fullmatch(r"([0-9.]+\s*(ms|s|min|m|h|d)\s*)+|[0-9]+(\.[0-9]+)?", compact) is None:
        raise ValueError("a duration is written like 90, 2h, 1h30m or 500ms")
    return sum(float(number) * _UNITS[unit or "s"] for number, unit in _PART.findall(compact))


def size(text: str) -> int:
    """``512MiB``, ``10k``, ``1GB`` in bytes; ``k`` alone is 1024, ``kB`` is 1000.

    Raises:
        ValueError: the text is no size.
    """
    found = _SIZE.fullmatch(text.strip())
    if found is None:
        raise ValueError("a size is written like 4096, 512MiB, 10k or 1GB")
    number, prefix, binary = found.groups()
    decimal = not binary and text.strip().lower().endswith("b")
    base = 1000 if decimal else 1024
    return int(float(number) * base ** (" kmgt".index(prefix.lower()) if prefix else 0))


def count(text: str) -> int:
    """A whole number from 0.

    Raises:
        ValueError: the text is none.
    """
    if re.fullmatch(r"[0-9]{1,9}", text.strip()) is None:
        raise ValueError("a whole number from 0 was expected")
    return int(text)


def _text(text: str) -> str:
    if not text:
        raise ValueError("it is empty")
    return text


def _path(text: str) -> Path:
    return Path(_text(text)).expanduser()


def _several(text: str) -> tuple[str, ...]:
    return tuple(part for part in text.split() if part)


def _choice(*choices: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text not in choices:
            raise ValueError("it is one of " + ", ".join(choices))
        return text

    return parse


def _flag(text: str) -> bool:
    if text.lower() in ("1", "true", "yes", "on"):
        return True
    if text.lower() in ("0", "false", "no", "off"):
        return False
    raise ValueError("it is true or false")


class Setting(NamedTuple):
    """One row of the table."""

    name: str
    """As the flag has it, without dashes in front: ``token-file``."""
    metavar: str
    parse: Callable[[str], Any]
    default: Any
    help: str
    secret: bool = False
    flag: bool = True
    """Whether there is a flag; a secret has none, since ``ps`` shows flags to everyone."""
    several: bool = False

    @property
    def key(self) -> str:
        """As config.toml and Python write it: ``token_file``."""
        return self.name.replace("-", "_")

    @property
    def variable(self) -> str:
        """The environment's variable: ``AMPACITY_TOKEN_FILE``."""
        return "AMPACITY_" + self.key.upper()


_LEVELS = ("debug", "info", "warn", "error")

TABLE: tuple[Setting, ...] = (
    Setting("coordinator", "ADDRESS", _text, None, "The coordinator: host:8786 or unix:/path."),
    Setting("token-file", "FILE", _path, None, "A file that holds the token for ADDRESS."),
    Setting("token", "", _text, None, "The token itself.", secret=True, flag=False),
    Setting("access", "FOLDER", _path, None, "Where this machine's coordinator is found."),
    Setting("state", "FOLDER", _path, None, "Where jobs, keys and credentials are kept."),
    Setting("ephemeral", "", _flag, False, "Keep jobs in memory only: they end with the process."),
    Setting(
        "patience",
        "TIME",
        duration,
        None,
        "How long to try to reach a coordinator; default: 5s, and 10m for one that went away.",
    ),
    Setting("log-level", "LEVEL", _choice(*_LEVELS), "info", "debug, info, warn or error."),
    Setting("log-format", "FORMAT", _choice("text", "json"), "text", "text or json."),
    Setting("slots", "N", count, None, "Jobs that run at once; default: the usable processors."),
    Setting("python", "PATH", _text, None, "The interpreter that runs the jobs."),
    Setting("setup", "M:F", _text, None, "A function to call once in each child, module:function."),
    Setting("cwd", "FOLDER", _text, None, "The folder that jobs run in."),
    Setting(
        "listen", "ENDPOINT", _several, (), "Where to listen for others: tcp:8786.", several=True
    ),
    Setting("advertise", "HOST", _text, None, "The host name in the lines for other machines."),
    Setting("name", "NAME", _text, None, "What the worker is called; default: the host's name."),
    Setting("grace", "TIME", duration, 10.0, "How long running jobs may go on when it stops."),
    Setting("user", "NAME", _text, None, "Run the jobs as this user; it takes root."),
    Setting("lifetime", "TIME", duration, None, "Leave in time to be gone after this long."),
    Setting("reactor", "NAME", _text, None, "Twisted's reactor: epoll, poll, select, asyncio."),
    Setting("progress", "", _flag, None, "A progress bar, also where stderr is no terminal."),
    # how much a coordinator keeps: for the files, and so without flags; the defaults are those of
    # ``coordinator.settings``, told here so that nothing is imported for them
    Setting(
        "retain-age", "TIME", duration, 7 * 86400.0, "Ended jobs are kept this long.", flag=False
    ),
    Setting(
        "retain-unfetched",
        "TIME",
        duration,
        30 * 86400.0,
        "The same, while nobody has fetched their results.",
        flag=False,
    ),
    Setting("retain-jobs", "N", count, 1_000_000, "So many ended jobs are kept.", flag=False),
    Setting(
        "retain-bytes", "SIZE", size, 4 << 30, "So many bytes of ended jobs are kept.", flag=False
    ),
    Setting("queue-jobs", "N", count, 10_000_000, "So many jobs may be unfinished.", flag=False),
    Setting(
        "queue-bytes", "SIZE", size, 4 << 30, "So many bytes may their arguments take.", flag=False
    ),
    *(
        Setting(name, metavar, parse, default, text, flag=False)
        for name, metavar, parse, default, text in (
            ("client-jobs", "N", count, None, "Unfinished jobs of one client; default: half."),
            ("client-bytes", "SIZE", size, None, "Bytes of their arguments; default: half."),
            (
                "client-retain-jobs",
                "N",
                count,
                None,
                "Unfetched ones of one client; default: half.",
            ),
            ("client-retain-bytes", "SIZE", size, None, "Bytes of these; default: half."),
            ("client-connections", "N", count, 256, "Connections with one credential."),
            ("client-sessions", "N", count, 1000, "Sessions of one client."),
            (
                "client-uploads",
                "SIZE",
                size,
                16 << 30,
                "One client's values that no job refers to.",
            ),
            ("value-bytes", "SIZE", size, 64 << 30, "The largest value."),
            ("waiting-connections", "N", count, 64, "Connections that may be in their greeting."),
            ("greeting-seconds", "TIME", duration, 5.0, "How long a greeting may take."),
            ("greeting-bytes", "SIZE", size, 8 << 10, "What may come before it is done."),
            ("box-bytes", "SIZE", size, 8 << 20, "What one message of a client may take."),
            ("box-keys", "N", count, 256, "Fields of one message."),
            ("asks-outstanding", "N", count, 4096, "Unanswered questions of one connection."),
            ("ask-bytes", "SIZE", size, 64 << 20, "The same, in bytes."),
            ("name-length", "N", count, 200, "Characters in a job's name or key."),
        )
    ),
)

BY_KEY = {setting.key: setting for setting in TABLE}


def without_secret(value: Any) -> str:
    """A value as text; of an address with a token, the address."""
    address, mark, _token = str(value).partition("#")
    return f"{address}#(hidden)" if mark else address


class Resolved(NamedTuple):
    """A setting's value and where it came from."""

    setting: Setting
    value: Any
    source: str

    def shown(self) -> str:
        """The value as people read it, a secret hidden."""
        if self.value is None or self.value == ():
            return ""
        if self.setting.secret:
            return "(hidden)"
        return " ".join(self.value) if isinstance(self.value, tuple) else without_secret(self.value)


def user_file(environ: Mapping[str, str]) -> Path:
    """The user's config.toml."""
    import platformdirs

    return Path(
        environ.get("AMPACITY_CONFIG") or platformdirs.user_config_path("ampacity") / "config.toml"
    )


class Settings:
    """The table's values for one command, looked up in order."""

    def __init__(
        self,
        flags: Mapping[str, Any] | None = None,
        environ: Mapping[str, str] | None = None,
        system_file: Path = SYSTEM_FILE,
    ) -> None:
        self._environ = os.environ if environ is None else environ
        self._flags = {key: value for key, value in (flags or {}).items() if value is not None}
        self._system_file = system_file
        self._files: list[tuple[Path, dict[str, Any]]] | None = None

    def over(self, flags: Mapping[str, Any]) -> Settings:
        """The same with more flags, which win."""
        return Settings({**self._flags, **_given(flags)}, self._environ, self._system_file)

    def __getitem__(self, key: str) -> Any:
        return self.resolve(key).value

    def resolve(self, key: str) -> Resolved:
        """The value of a setting and its source.

        Raises:
            click.UsageError: the value does not fit, or a file cannot be read.
        """
        setting = BY_KEY[key]
        if key in self._flags:
            return self._read(setting, self._flags[key], f"--{setting.name}")
        if text := self._environ.get(setting.variable):
            return self._read(setting, text, setting.variable)
        for path, values in self._read_files():
            if key in values:
                return self._read(setting, values[key], str(path))
        return Resolved(setting, setting.default, "default")

    def all(self) -> list[Resolved]:
        """Every setting of the table."""
        return [self.resolve(setting.key) for setting in TABLE]

    def _read(self, setting: Setting, given: Any, source: str) -> Resolved:
        if setting.several and isinstance(given, list | tuple):
            given = " ".join(map(str, given))
        if isinstance(given, bool):
            given = str(given).lower()
        try:
            return Resolved(setting, setting.parse(str(given)), source)
        except ValueError as e:
            told = "" if setting.secret else f" {str(given)!r:.80}"
            raise click.UsageError(f"{source}:{told} does not fit: {e}") from None

    def _read_files(self) -> list[tuple[Path, dict[str, Any]]]:
        if self._files is None:
            paths = (user_file(self._environ), self._system_file)
            self._files = [(path, values) for path in paths if (values := read_file(path))]
        return self._files


def _given(flags: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in flags.items() if value is not None and value != ()}


def read_file(path: Path) -> dict[str, Any]:
    """A config.toml's values; a file that does not exist has none.

    Raises:
        click.UsageError: it cannot be read, is no TOML, or has an unknown key.
        InsecureFolder: it holds a token, and others can read it.
    """
    try:
        values = tomllib.loads(path.read_text())
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, ValueError) as e:
        raise click.UsageError(f"the settings in {path} cannot be read: {e}") from None
    for key in values:
        if key not in BY_KEY:
            raise click.UsageError(f"{path}: there is no setting {key!r}{_near(key)}")
    if "token" in values or "#" in str(values.get("coordinator", "")):
        from ..protocol.privacy import read_token_file

        read_token_file(path)
    return values


def _near(key: str) -> str:
    near: Sequence[str] = difflib.get_close_matches(key, BY_KEY, 1)
    return f"; did you mean {near[0]}?" if near else ""


def options(*keys: str) -> Callable[[Any], Any]:
    """Decorate a click command with the flags of these settings."""

    def decorate(function: Any) -> Any:
        for key in reversed(keys):
            setting = BY_KEY[key]
            is_flag = setting.parse is _flag
            function = click.option(
                f"--{setting.name}",
                key,
                metavar=None if is_flag else setting.metavar,
                help=setting.help,
                multiple=setting.several,
                is_flag=is_flag,
                default=None,
            )(function)
        return function

    return decorate


def twist_parameters(*keys: str) -> list[list[Any]]:
    """``optParameters`` of a ``twisted.python.usage.Options`` for these settings."""
    return [[BY_KEY[key].name, None, None, BY_KEY[key].help] for key in keys]
