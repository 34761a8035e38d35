"""The child of the bare relay. ampoule is imported here, once a reactor is there."""

from __future__ import annotations

from ampoule.child import AMPChild

from .relay import Run, run_frame


class Child(AMPChild):
    @Run.responder
    def run(self, jobs: bytes) -> dict[str, bytes]:
        return {"results": run_frame(jobs)}
