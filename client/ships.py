"""A module's source, packed, for workers that do not have it."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType

from ..protocol.errors import BadOption
from ..protocol.packing import pack


def pack_module(module: ModuleType | str) -> bytes:
    """``[name, is package, {path: source}]``, paths from the folder that holds the top package.

    A top-level package goes whole, a submodule with the ``__init__.py`` of its parents.

    Raises:
        BadOption: it is no module with source files.
    """
    if isinstance(module, str):
        module = importlib.import_module(module)
    if not isinstance(module, ModuleType):
        raise BadOption(f"ship takes a module or its name, not {module!r:.80}")
    top = importlib.import_module(module.__name__.partition(".")[0])
    folder = Path(_file(top)).parent
    is_package = hasattr(top, "__path__")
    files = sorted(folder.rglob("*.py")) if is_package else [Path(_file(top))]
    root = folder.parent if is_package else folder
    sources = {file.relative_to(root).as_posix(): file.read_bytes() for file in files}
    return pack([top.__name__, is_package, sources])


def _file(module: ModuleType) -> str:
    file = getattr(module, "__file__", None)
    if module.__name__ == "__main__" or file is None or not file.endswith(".py"):
        raise BadOption(
            f"the module {module.__name__} has no source file of its own to be shipped"
            + ("; what a script defines travels by itself" if file else "")
        )
    return str(file)
