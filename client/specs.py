"""What the jobs of one view of a pool have in common, packed once for each function."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import attrs

from ..protocol.jobs import BlobRef, JobSpec, pack_spec
from .folders import import_folders, working_folder
from .functions import PYTHON, Travelling

if TYPE_CHECKING:
    from .engine import Engine
    from .options import Options

_KEPT = 1000


Key = Travelling | tuple[str, BlobRef]
"""A function by its name; or by its code, which may be packed anew for each job."""


@attrs.define(eq=False)
class _Known:
    """What is packed already; it holds for one working folder, import path and set of ships."""

    folder: str | None
    path: list[str]
    ships: tuple[tuple[BlobRef, bytes], ...]
    specs: dict[Key, bytes] = attrs.Factory(dict)
    specs_by_value: dict[Key, bytes] = attrs.Factory(dict)
    imported_from: tuple[str, ...] = attrs.Factory(import_folders)


class Specs:
    """The packed specs of one view. Safe in any thread: what is looked at together is replaced
    together."""

    __slots__ = ("_engine", "_known", "_options")

    def __init__(self, engine: Engine, options: Options) -> None:
        self._engine = engine
        self._options = options
        self._known = _Known(None, [], (), imported_from=())

    def of(self, way: Travelling, by_value: bool) -> bytes:
        """The spec of a job. ``by_value``: its arguments hold code, which one Python only fits."""
        known = self._known
        folder, ships = working_folder(), self._engine.ships
        if folder != known.folder or sys.path != known.path or ships is not known.ships:
            known = self._known = _Known(folder, [*sys.path], ships)
        specs = known.specs_by_value if by_value else known.specs
        key = way if way.ref is None else (way.target, way.ref)
        spec = specs.get(key)
        if spec is None:
            if len(specs) > _KEPT:
                specs.clear()
            spec = specs[key] = self._pack(way, by_value, known)
        return spec

    def _pack(self, way: Travelling, by_value: bool, known: _Known) -> bytes:
        from ..workers import machine

        options = self._options
        return pack_spec(
            JobSpec(
                kind=way.kind,
                target=way.target,
                function=way.ref,
                ships=tuple(ref for ref, _ in known.ships),
                name=options.name,
                timeout=options.timeout,
                deadline=options.deadline,
                host=machine.identity(),
                folder=known.folder,
                cwd=options.cwd,
                env=options.env,
                orphans=options.orphans,
                python=PYTHON if by_value or way.kind == "value" else None,
                path=known.imported_from,
                retries=options.retries,
                retry_on=options.retry_on,
                backoff=options.backoff,
                max_losses=options.max_losses,
                results=options.results,
            )
        )
