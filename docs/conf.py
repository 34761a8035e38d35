"""How Sphinx makes the pages: ``make docs``."""

from __future__ import annotations

import inspect
import re
from typing import Any

import ampacity

project = "ampacity"
author = "the authors of ampacity"
version = release = ampacity.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_click",
]
root_doc = "index"
exclude_patterns = ["_build"]
nitpicky = True

# what is linked but is no page of ours: there is no network while the pages are made
nitpick_ignore_regex = [
    ("py:.*", r"(twisted|collections|types|typing|os|zope|asyncio)\..*"),
    ("py:class", r"(ampacity\..*\.)?(P|T|T_co|P\.(kw)?args|Which|Errors|Report|Deferred)"),
    ("py:.*", r"(.*\.)?(ErrorText|Evidence|Session|AsyncJob|AsyncPool|Eventual|JobId|GroupId)"),
    ("py:exc", "BadOption"),
    ("py:class", r"ampacity\.coordinator\.settings\.Settings|<InterfaceClass twisted\..*>"),
    ("myst", r"(\.\./)+[\w/-]+"),  # folders of the repository; a test looks whether they are there
]

myst_enable_extensions = ["colon_fence", "deflist", "attrs_inline"]
myst_heading_anchors = 4
suppress_warnings = ["myst.xref_ambiguous"]

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
add_module_names = False
smartquotes = False  # an option stays --json
python_use_unqualified_type_names = True

html_theme = "furo"
html_title = f"ampacity {version}"
html_show_sphinx = False
html_show_copyright = False
html_copy_source = False

FENCE = re.compile(r"^```(\w+)$")


def code_blocks(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Docstrings show code between fences; Sphinx wants it indented, under a directive."""
    inside = False
    written: list[str] = []
    for line in lines:
        if found := FENCE.match(line):
            inside = True
            written += ["", f".. code-block:: {found[1]}", ""]
        elif inside and line == "```":
            inside = False
            written += [""]
        else:
            written.append(f"    {line}" if inside and line else line)
    lines[:] = written


ATTRIBUTES = ("attribute", "data", "property")
set_aside: dict[str, list[str]] = {}


def before_napoleon(
    app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]
) -> None:
    """Napoleon would take the words before a colon for the type of an attribute."""
    if what in ATTRIBUTES:
        set_aside[name] = lines[:]
        lines.clear()


def after_napoleon(
    app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]
) -> None:
    if what in ATTRIBUTES:
        lines[:] = set_aside.pop(name)


def only_own(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """An error without words of its own shows none of its base's."""
    if inspect.isclass(obj) and obj.__doc__ is None:
        lines.clear()


def examples(app: Any, ctx: Any, lines: list[str]) -> None:
    """The examples of a command, which its help text has last, are code."""
    text = inspect.cleandoc((ctx.command.epilog or "").replace("\b", ""))
    shown = [line for line in text.splitlines() if line.strip() and line != "Examples:"]
    lines[:] = ["Examples:", "", ".. code-block:: text", "", *(f"    {one}" for one in shown), ""]


def setup(app: Any) -> None:
    app.connect("sphinx-click-process-epilog", examples)
    app.connect("autodoc-process-docstring", code_blocks)
    app.connect("autodoc-process-docstring", before_napoleon, priority=400)
    app.connect("autodoc-process-docstring", after_napoleon, priority=600)
    app.connect("autodoc-process-docstring", only_own)
