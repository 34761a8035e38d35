"""Every AMP command, by direction, with its errors; explained in ``docs/reference/protocol.md``."""

from __future__ import annotations

from typing import ClassVar

from twisted.protocols import amp

from . import errors
from .fields import Frame, Packed
from .limits import DETAILS_BYTES, HELD_ATTEMPTS, JOBS_A_QUESTION, STATE_BYTES

PROTOCOL_VERSIONS = (1, 2)
"""The versions of the protocol that this release speaks, best last.

2 adds ``Drain``, ``DrainWorker``, ``Forget``, ``Backup``, the error ``STORAGE_FULL``, a report's
``again``, and a spec's fields from ``retries`` on."""

_IDS = Packed(most=JOBS_A_QUESTION * 9 + 5, lists=1)
_ATTEMPTS = Packed(lists=JOBS_A_QUESTION + 1)
_ALWAYS: dict[type[Exception], bytes] = {
    errors.Malformed: b"MALFORMED",
    errors.NotAllowed: b"NOT_ALLOWED",
    errors.TooLarge: b"TOO_LARGE",
    errors.TooMany: b"TOO_MANY",
}
_ROOM: dict[type[Exception], bytes] = {
    **_ALWAYS,
    errors.QueueFull: b"QUEUE_FULL",
    errors.StorageFull: b"STORAGE_FULL",
}
"""Of what takes room."""


class _Command(amp.Command):
    errors: ClassVar[dict[type[Exception], bytes]] = _ALWAYS


# -- both ways ------------------------------------------------------------------------------------


class Ping(_Command):
    """Are you there? Any box counts as a sign of life; this one is sent when there is none."""


class Goodbye(_Command):
    """A client or worker leaves and will not come back: the last thing it says. Without it, a
    connection that ends is taken for a fault, and its peer is waited for."""


# -- the greeting: first thing from whoever connects, nothing else is understood before -----------


class Hello(_Command):
    """Versions and role. ``open`` in the answer: no token is asked for (the UNIX socket)."""

    arguments = [
        (b"versions", amp.ListOf(amp.Integer())),
        (b"role", amp.Unicode()),  # the token's; "client" or "worker" without one
        (b"software", amp.Unicode()),
        (b"frame_jobs", amp.Integer(optional=True)),  # in one frame to this side; 64 if not said
    ]
    response = [
        (b"version", amp.Integer()),
        (b"software", amp.Unicode()),
        (b"store", amp.String()),  # 16 bytes: the identity of the coordinator's store
        (b"term", amp.Integer()),
        (b"open", amp.Boolean()),
        (b"frame_jobs", amp.Integer(optional=True)),
    ]
    errors = {**_ALWAYS, errors.VersionMismatch: b"VERSION_MISMATCH"}


class Authenticate(_Command):
    """The proof: a token's id and secret. A join token is answered by a worker's credential."""

    arguments = [(b"token", amp.Unicode()), (b"secret", amp.String())]
    response = [
        (b"client", amp.Unicode()),
        (b"credential", amp.Unicode(optional=True)),  # a whole token, to be kept by the worker
    ]
    errors = {**_ALWAYS, errors.TokenRefused: b"TOKEN_REFUSED"}


# -- from a client --------------------------------------------------------------------------------


class OpenSession(_Command):
    """Begin, or take up again, a session: the scope of sequence numbers and deliveries."""

    arguments = [(b"session", amp.String())]
    response = [(b"next_sequence", amp.Integer())]  # the first number not seen yet


class Submit(_Command):
    """A frame of submissions. Numbers of a session count up by one; a resent one is recognised.

    ``missing`` lists digests of blobs to be sent first; then nothing of the frame was accepted
    and the same number is sent again.
    """

    arguments = [
        (b"sequence", amp.Integer()),
        (b"group", amp.Integer(optional=True)),  # the client's own number of the group, from 1
        (b"jobs", Frame()),
    ]
    response = [
        (b"ids", Packed()),  # [[first id, count]...], in the frame's order
        (b"group", amp.Integer(optional=True)),  # the group's id here
        (b"missing", Packed()),  # [digest...]
        (b"warning", amp.Unicode(optional=True)),  # no connected worker can take these
    ]
    errors = _ROOM


class CloseGroup(_Command):
    """All of a group's jobs are submitted: it is complete once they have ended."""

    arguments = [(b"group", amp.Integer()), (b"size", amp.Integer())]
    errors = {**_ALWAYS, errors.NoSuchGroup: b"NO_SUCH_GROUP"}


class Cancel(_Command):
    """End jobs: queued ones at once, running ones by signals, unless ``queued_only``."""

    arguments = [(b"jobs", _IDS), (b"queued_only", amp.Boolean())]  # [id...]
    response = [(b"states", Packed())]  # {id: the state it had, or "unknown"}


class Retry(_Command):
    """Run ended jobs again, each as a new job; answers their ids."""

    arguments = [(b"jobs", _IDS)]
    response = [(b"ids", Packed())]  # {old id: new id}
    errors = _ROOM


class Forget(_Command):
    """Give up ended jobs with all that is kept of them; those that have not ended are left."""

    arguments = [(b"jobs", _IDS)]
    response = [(b"states", Packed())]  # {id: "forgotten", the state it has, or "unknown"}


class Watch(_Command):
    """Deliver the outcomes of these jobs, too, at once or when they end; answers unknown ids."""

    arguments = [(b"jobs", _IDS)]
    response = [(b"unknown", Packed())]


class Query(_Command):
    """Ask for a list or a state; ``docs/reference/protocol.md`` has the questions and answers."""

    arguments = [(b"question", amp.Unicode()), (b"details", Packed(most=DETAILS_BYTES))]
    response = [(b"answer", Packed())]
    errors = {
        **_ALWAYS,
        errors.NoSuchJob: b"NO_SUCH_JOB",
        errors.NoSuchGroup: b"NO_SUCH_GROUP",
        errors.Damaged: b"DAMAGED",
    }


class Attach(_Command):
    """What a job printed so far; with ``follow``, ``Output`` boxes come from there on."""

    arguments = [(b"job", amp.Integer()), (b"follow", amp.Boolean())]
    response = [(b"log", Frame()), (b"live", amp.Boolean())]
    errors = {**_ALWAYS, errors.NoSuchJob: b"NO_SUCH_JOB"}


class Detach(_Command):
    """No more ``Output`` boxes of this job."""

    arguments = [(b"job", amp.Integer())]


class ReloadWorkers(_Command):
    """Replace every idle child now, and the others when their job ends."""

    response = [(b"workers", amp.Integer())]


class DrainWorker(_Command):
    """Have a worker finish what runs within its grace, give back the rest, and leave."""

    arguments = [(b"worker", amp.Unicode())]
    errors = {**_ALWAYS, errors.NoSuchWorker: b"NO_SUCH_WORKER"}


class Backup(_Command):
    """Copy the store and its values into a new folder on the coordinator's machine."""

    arguments = [(b"folder", amp.Unicode())]
    response = [(b"report", Packed())]  # {"jobs", "values", "bytes", "seconds"}
    errors = {
        **_ALWAYS,
        errors.StoreRefused: b"STORE_REFUSED",
        errors.StorageFull: b"STORAGE_FULL",
    }


class CreateToken(_Command):
    """Make a token; its secret is told in this answer and never again."""

    arguments = [
        (b"role", amp.Unicode()),
        (b"lifetime", amp.Float(optional=True)),  # seconds; without it, it does not expire
        (b"name", amp.Unicode(optional=True)),
    ]
    response = [
        (b"line", amp.Unicode()),  # host:8786#TOKEN
        (b"token", amp.Unicode()),  # its id
    ]
    errors = {
        **_ALWAYS,
        errors.NotListening: b"NOT_LISTENING",
        errors.StorageFull: b"STORAGE_FULL",
    }


class ListTokens(_Command):
    """Every token that is good, without its secret, which nobody here knows."""

    # [{id, role, use, name, created, expires, origin, connections, last}...]
    response = [(b"tokens", Packed())]
    errors = {**_ALWAYS, errors.NotListening: b"NOT_LISTENING"}


class RevokeToken(_Command):
    """Take a token back; its connections end. ``joined``: with what it was exchanged for."""

    arguments = [(b"token", amp.Unicode()), (b"joined", amp.Boolean())]
    response = [(b"revoked", Packed())]  # [id...]
    errors = {
        **_ALWAYS,
        errors.NoSuchToken: b"NO_SUCH_TOKEN",
        errors.NotListening: b"NOT_LISTENING",
        errors.StorageFull: b"STORAGE_FULL",
    }


class Shutdown(_Command):
    """Stop the coordinator."""


# -- to a client ----------------------------------------------------------------------------------


class Delivered(_Command):
    """A frame of deliveries. The answer acknowledges it; without one it is sent again."""

    arguments = [(b"outcomes", Frame())]


class Output(_Command):
    """Bytes that a job printed, in order. ``wanted`` false in the answer: nobody listens.

    ``offset`` tells what is sent again after a lost connection. From a worker it counts what the
    attempt has printed before; to a client, what it was told of the job before.
    """

    arguments = [
        (b"job", amp.Integer()),
        (b"stream", amp.Integer()),  # 1 or 2
        (b"offset", amp.Integer()),  # bytes of the stream before these
        (b"data", Frame()),
    ]
    response = [(b"wanted", amp.Boolean())]


# -- from a worker --------------------------------------------------------------------------------


class Join(_Command):
    """A worker offers its slots and tells what it holds of this store (see ``ports.WorkerInfo``).

    ``drop`` lists held attempts that are not wanted any more, as ``[job, term, number]``.
    """

    arguments = [
        (b"info", Packed(most=DETAILS_BYTES)),
        (b"held", Packed(lists=HELD_ATTEMPTS + 1, longest=HELD_ATTEMPTS)),
    ]
    response = [(b"name", amp.Unicode()), (b"drop", Packed())]


class Begun(_Command):
    """Attempts that a child has started: ``[[job, term, number, UNIX time]...]``."""

    arguments = [(b"attempts", _ATTEMPTS)]


class Finished(_Command):
    """A frame of reports. The answer acknowledges it; the worker keeps them until then.

    With ``STORAGE_FULL`` none of them is recorded: they come again, after a while.
    """

    arguments = [(b"reports", Frame())]
    errors = {**_ALWAYS, errors.StorageFull: b"STORAGE_FULL"}


class Returned(_Command):
    """Attempts that were not begun and are given back: ``[[job, term, number]...]``."""

    arguments = [(b"attempts", _ATTEMPTS)]


class WorkerState(_Command):
    """What ``workers`` and ``top`` show: load, memory, loop lag: ``docs/reference/protocol.md``."""

    arguments = [(b"state", Packed(most=STATE_BYTES))]


# -- to a worker ----------------------------------------------------------------------------------


class Assign(_Command):
    """A frame of assignments."""

    arguments = [(b"jobs", Frame())]


class EndAttempts(_Command):
    """End these attempts: ``[[job, term, number, why]...]``, why being ``cancelled``, ``deadline``
    (reported as such) or ``superseded`` (not reported)."""

    arguments = [(b"attempts", _ATTEMPTS)]


class Retract(_Command):
    """Give back these attempts if they have not begun: ``[[job, term, number]...]``."""

    arguments = [(b"attempts", _ATTEMPTS)]


class AttachWorker(_Command):
    """What an attempt printed so far; with ``follow``, send ``Output`` boxes from there on."""

    arguments = [(b"job", amp.Integer()), (b"follow", amp.Boolean())]
    response = [(b"log", Frame())]
    errors = {**_ALWAYS, errors.NoSuchJob: b"NO_SUCH_JOB"}


class Reload(_Command):
    """Replace every child: the idle ones now, the others when their job ends."""


class Drain(_Command):
    """Finish what runs within your grace, give back the rest, and leave for good."""


# -- blobs, between client, coordinator and worker ------------------------------------------------


class PutChunk(_Command):
    """A piece of a blob, in order from offset 0. ``have`` in the answer: all is there already."""

    arguments = [
        (b"digest", amp.String()),
        (b"size", amp.Integer()),
        (b"offset", amp.Integer()),
        (b"data", Frame()),
    ]
    response = [(b"have", amp.Boolean())]
    errors = _ROOM


class GetChunk(_Command):
    """A piece of a blob, from ``offset``, at most ``CHUNK_SIZE`` bytes.

    ``again``: what came before did not have the hash; the file is verified before it is served.
    """

    arguments = [
        (b"digest", amp.String()),
        (b"offset", amp.Integer()),
        (b"again", amp.Boolean(optional=True)),
    ]
    response = [(b"data", Frame())]
    errors = {**_ALWAYS, errors.NoSuchBlob: b"NO_SUCH_BLOB", errors.Damaged: b"DAMAGED"}


class PutFile(_Command):
    """A blob as a file of this machine and user, to be linked to. Without ``have``: send chunks."""

    arguments = [(b"digest", amp.String()), (b"size", amp.Integer()), (b"path", amp.String())]
    response = [(b"have", amp.Boolean())]
    errors = _ROOM


class GetFile(_Command):
    """The file of a blob, verified, for who is of the same machine and user: to be linked to."""

    arguments = [(b"digest", amp.String()), (b"size", amp.Integer())]
    response = [(b"path", amp.String())]
    errors = {**_ALWAYS, errors.NoSuchBlob: b"NO_SUCH_BLOB", errors.Damaged: b"DAMAGED"}
