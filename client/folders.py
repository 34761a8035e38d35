"""Where this program works, and where it imports its own modules from."""

from __future__ import annotations

import os
import site
import sys
import sysconfig


def working_folder() -> str | None:
    """Where this process works; None where the folder was removed."""
    try:
        return os.getcwd()  # noqa: PTH109  # a text is wanted, for each job
    except OSError:
        return None


def import_folders() -> tuple[str, ...]:
    """The program's own folders of ``sys.path``: that of its script, those of ``PYTHONPATH``.

    What belongs to the interpreter, or is installed in it, a child finds by itself, and another
    interpreter (``python=``) has its own.
    """
    here = working_folder()
    installed = tuple(folder + os.sep for folder in _installed())
    folders = (os.path.abspath(folder) for folder in sys.path if folder)  # noqa: PTH100  # texts
    return tuple(
        dict.fromkeys(
            folder
            for folder in folders
            if folder != here
            and not (folder + os.sep).startswith(installed)
            and os.path.isdir(folder)  # noqa: PTH112
        )
    )


def _installed() -> set[str]:
    names = ("stdlib", "platstdlib", "purelib", "platlib")
    places = {sysconfig.get_path(name) for name in names}
    places.update(site.getsitepackages())
    places.add(site.getusersitepackages())
    return {os.path.abspath(place) for place in places if place}  # noqa: PTH100  # texts
