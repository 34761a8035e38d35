"""Modules that travel by value, made importable in a child, from memory."""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import importlib.util
import linecache
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import Any

from ..protocol.packing import unpack_list


class ShippedModules(importlib.abc.MetaPathFinder):
    """An importer over ``{path: source}`` maps, asked before the file system."""

    def __init__(self) -> None:
        self._sources: dict[str, tuple[str, bool, bytes]] = {}

    def add(self, packed: bytes) -> None:
        """Take a packed ``[name, is package, {path: source}]``; paths begin with the name.

        Raises:
            Malformed: it is none.
        """
        name, _is_package, sources, *_later = unpack_list(packed)
        for path, source in sources.items():
            module, package = _module_of(name, path)
            if module is not None:
                data = source.encode() if isinstance(source, str) else source
                self._sources[module] = (f"<shipped>/{path}", package, data)
        if self not in sys.meta_path:
            sys.meta_path.insert(0, self)

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """The import system's question."""
        found = self._sources.get(fullname)
        if found is None:
            return None
        origin, package, source = found
        loader: Any = _Source(fullname, origin, source)
        return importlib.util.spec_from_loader(fullname, loader, origin=origin, is_package=package)


class _Source(importlib.abc.InspectLoader):
    def __init__(self, name: str, origin: str, source: bytes) -> None:
        self._name, self._origin, self._source = name, origin, source

    def get_source(self, fullname: str) -> str:
        return importlib.util.decode_source(self._source)

    def is_package(self, fullname: str) -> bool:
        return self._origin.endswith("/__init__.py")

    def exec_module(self, module: ModuleType) -> None:
        text = self.get_source(self._name)
        lines = text.splitlines(keepends=True)
        linecache.cache[self._origin] = (len(text), None, lines, self._origin)
        exec(compile(text, self._origin, "exec", dont_inherit=True), module.__dict__)  # noqa: S102


def _module_of(name: str, path: str) -> tuple[str | None, bool]:
    """The module that a shipped file is, and whether it is a package's ``__init__``."""
    if not path.endswith(".py"):
        return None, False
    parts = path.removesuffix(".py").split("/")
    package = parts[-1] == "__init__"
    if package:
        parts.pop()
    module = ".".join(parts)
    if module != name and not module.startswith(name + "."):
        module = f"{name}.{module}" if module else name
    return module, package
