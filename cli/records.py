"""The JSON records of the command line; ``docs/reference/json.md`` is their description."""

from __future__ import annotations

from typing import Any

from ..protocol.errors import Malformed
from ..protocol.ids import GroupId, JobId, show_group
from ..protocol.jobs import unpack_spec
from ..protocol.outcomes import Delivery, Ending, Evidence, Outcome, unpack_outcome
from ..protocol.packing import unpack_arguments
from .rendering import rfc3339, value_json

TAIL = 4000
"""Characters of a failed job's output in a record."""


def outcome_fields(ending: Ending, outcome: Outcome) -> dict[str, Any]:
    """How a job ended: ``outcome`` and, as far as they are known, what goes with it."""
    fields: dict[str, Any] = {"outcome": ending.words}
    if ending is Ending.SUCCEEDED:
        fields |= value_json(outcome.shown)
    if outcome.exit_code is not None:
        fields["exit_code"] = outcome.exit_code
    if outcome.error is not None:
        name, message, traceback = outcome.error
        fields["error"] = {"type": name, "message": message, "traceback": traceback}
    if outcome.evidence is not None:
        fields["evidence"] = _evidence(outcome.evidence)
    if ending is not Ending.SUCCEEDED and outcome.tail:
        fields["output"] = outcome.tail.decode("utf-8", "replace")[-TAIL:]
    return fields


def _evidence(evidence: Evidence) -> dict[str, Any]:
    return {key: value for key, value in evidence._asdict().items() if value not in (None, "")}


def delivery_record(delivery: Delivery) -> dict[str, Any]:
    """One ended job: its id and its outcome."""
    return {
        "id": int(delivery.job),
        **outcome_fields(delivery.ending, unpack_outcome(delivery.body)),
    }


def group_text(group: int | None) -> str | None:
    """``3`` as ``g3``."""
    return None if group is None else show_group(GroupId(group))


def job_record(summary: dict[str, Any]) -> dict[str, Any]:
    """One job of a list."""
    return {
        "id": JobId(summary["id"]),
        "client": summary.get("client"),
        "name": summary.get("name"),
        "kind": summary.get("kind"),
        "target": summary.get("target"),
        "state": summary.get("state"),
        "group": group_text(summary.get("group")),
        "index": summary.get("place"),
        "key": summary.get("key"),
        "worker": summary.get("worker"),
        "submitted": rfc3339(summary.get("submitted")),
        "began": rfc3339(summary.get("began")),
        "ended": rfc3339(summary.get("ended")),
        "seconds": summary.get("seconds"),
        "attempts": summary.get("attempts"),
        "failures": summary.get("failures"),
        "losses": summary.get("losses"),
        "resume": rfc3339(summary.get("resume")),
        "fetched": summary.get("taken"),
        "waiting": summary.get("waiting"),
        "retried": summary.get("retried"),
        "retry_of": summary.get("retry_of"),
    }


def call_fields(about: dict[str, Any]) -> dict[str, Any]:
    """What a job was called with: ``args`` and ``kwargs``, or ``command``; nothing where that is
    pickled, or too large to be kept with the job."""
    spec, payload = unpack_spec(about["spec"]), about["payload"]
    if payload is None or (spec.kind != "command" and spec.arguments == "pickle"):
        return {}
    try:
        given = unpack_arguments(payload)
    except Malformed:
        return {}
    if spec.kind == "command":
        return {"command": given}
    args, kwargs = given
    return {"args": args, "kwargs": kwargs}


def store_of(status: dict[str, Any]) -> dict[str, Any] | None:
    """What a durable coordinator says of its store: ``folder``, ``bytes``, ``free``, ``schema``."""
    for key in ("disk", "store"):
        if isinstance(status.get(key), dict):
            return dict(status[key])
    return None


def status_record(status: dict[str, Any]) -> dict[str, Any]:
    """A coordinator's state."""
    record = {**status, "disk": store_of(status), "started": rfc3339(status.get("started"))}
    store = status.get("store")
    record["store"] = store.hex() if isinstance(store, bytes) else None
    if "time" in record:
        record["time"] = rfc3339(record["time"])
    return record


def worker_record(worker: dict[str, Any]) -> dict[str, Any]:
    """One worker of a list."""
    record = {key: value for key, value in worker.items() if key != "load"}
    record["since"] = rfc3339(worker.get("since"))
    record["load"] = worker.get("load") or {}
    return record
