"""``ports.Coordinator`` over one connection, and what the coordinator says on it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

from twisted.internet.defer import Deferred, fail
from twisted.protocols import amp

from ..protocol import commands
from ..protocol.connection import Connection
from ..protocol.errors import VersionMismatch
from ..protocol.ids import GroupId, JobId
from ..protocol.jobs import BlobRef, Submission, pack_submissions
from ..protocol.outcomes import JobLog, unpack_deliveries, unpack_log
from ..protocol.ports import Accepted
from ..protocol.responders import Responders
from ..protocol.transfers import download, upload
from .session import Session

T = TypeVar("T")


class Ears(Responders):
    """Answers the coordinator's commands."""

    def __init__(self, session: Session) -> None:
        self._session = session

    @commands.Delivered.responder
    def delivered(self, outcomes: bytes) -> dict[str, Any] | Deferred[dict[str, Any]]:
        taken = self._session.delivered(unpack_deliveries(outcomes))
        return {} if taken.called else taken.addCallback(_no_more)

    @commands.Output.responder
    def output(self, job: int, stream: int, offset: int, data: bytes) -> Deferred[dict[str, Any]]:
        return self._session.output(JobId(job), stream, offset, data).addCallback(_wanted)


class RemoteCoordinator:
    """Asks over a connection; every call fails with ``Disconnected`` when it is lost."""

    def __init__(
        self,
        connection: Connection,
        session: Session,
        version: int = commands.PROTOCOL_VERSIONS[-1],
    ) -> None:
        self.connection = connection
        self.version = version
        """Of the protocol, as both sides speak it."""
        self._session = session

    @property
    def frame_jobs(self) -> int:
        """Jobs that it takes in one frame."""
        return self.connection.frame_jobs

    @property
    def lost(self) -> bool:
        """Whether asking is useless."""
        return self.connection.lost is not None or self.connection.closing

    def _ask(self, command: type[amp.Command], **arguments: Any) -> Deferred[dict[str, Any]]:
        return self.connection.call(command, **arguments)

    def _ask_newer(self, command: type[amp.Command], **arguments: Any) -> Deferred[dict[str, Any]]:
        """What version 1 of the protocol does not know."""
        if self.version < 2:
            return fail(
                VersionMismatch(
                    "this coordinator speaks version 1 of the protocol, which does not know "
                    f"{command.__name__}: upgrade ampacity on its machine"
                )
            )
        return self._ask(command, **arguments)

    def submit(
        self, sequence: int, submissions: Sequence[Submission], group: int | None
    ) -> Deferred[Accepted]:
        jobs = pack_submissions(submissions)
        answer = self._ask(commands.Submit, sequence=sequence, group=group, jobs=jobs)
        return answer.addCallback(_accepted)

    def close_group(self, group: int, size: int) -> Deferred[None]:
        return self._ask(commands.CloseGroup, group=group, size=size).addCallback(_nothing)

    def cancel(self, jobs: Sequence[JobId], queued_only: bool = False) -> Deferred[dict[int, str]]:
        answer = self._ask(commands.Cancel, jobs=list(jobs), queued_only=queued_only)
        return answer.addCallback(_part, "states")

    def retry(self, jobs: Sequence[JobId]) -> Deferred[dict[int, int]]:
        return self._ask(commands.Retry, jobs=list(jobs)).addCallback(_part, "ids")

    def forget(self, jobs: Sequence[JobId]) -> Deferred[dict[int, str]]:
        return self._ask_newer(commands.Forget, jobs=list(jobs)).addCallback(_part, "states")

    def watch(self, jobs: Sequence[JobId]) -> Deferred[list[int]]:
        return self._ask(commands.Watch, jobs=list(jobs)).addCallback(_part, "unknown")

    def query(self, question: str, details: dict[str, Any]) -> Deferred[Any]:
        answer = self._ask(commands.Query, question=question, details=details)
        return answer.addCallback(_part, "answer")

    def attach(self, job: JobId, follow: bool) -> Deferred[tuple[JobLog, bool]]:
        answer = self._ask(commands.Attach, job=job, follow=follow)
        return answer.addCallback(lambda got: (unpack_log(got["log"]), bool(got["live"])))

    def detach(self, job: JobId) -> Deferred[None]:
        return self._ask(commands.Detach, job=job).addCallback(_nothing)

    def reload_workers(self) -> Deferred[int]:
        return self._ask(commands.ReloadWorkers).addCallback(_part, "workers")

    def drain_worker(self, worker: str) -> Deferred[None]:
        return self._ask_newer(commands.DrainWorker, worker=worker).addCallback(_nothing)

    def backup(self, folder: Path) -> Deferred[dict[str, Any]]:
        return self._ask_newer(commands.Backup, folder=str(folder)).addCallback(_part, "report")

    def create_token(
        self, role: str, lifetime: float | None, name: str | None
    ) -> Deferred[tuple[str, str]]:
        """The line to paste, and the id."""
        answer = self._ask(commands.CreateToken, role=role, lifetime=lifetime, name=name)
        return answer.addCallback(lambda made: (made["line"], made["token"]))

    def list_tokens(self) -> Deferred[list[dict[str, Any]]]:
        return self._ask(commands.ListTokens).addCallback(_part, "tokens")

    def revoke_token(self, token: str, joined: bool) -> Deferred[list[str]]:
        answer = self._ask(commands.RevokeToken, token=token, joined=joined)
        return answer.addCallback(_part, "revoked")

    def goodbye(self) -> Deferred[None]:
        return self._ask(commands.Goodbye).addCallback(_nothing)

    def shutdown(self) -> Deferred[None]:
        return self._ask(commands.Shutdown).addCallback(_nothing)

    # -- blobs ------------------------------------------------------------------------------------

    def put_blob(self, ref: BlobRef, path: Path) -> Deferred[None]:
        return upload(self.connection, ref, path, self._session.defer_to_thread)

    def get_blob(self, ref: BlobRef) -> Deferred[Path]:
        """A copy of the session's own, which removes it when it has been read."""
        return Deferred.fromCoroutine(self._get_blob(ref))

    async def _get_blob(self, ref: BlobRef) -> Path:
        folder = await self._session.values.folder()
        await download(self.connection, ref, folder)
        return folder.file(ref)


def _no_more(_: None) -> dict[str, Any]:
    return {}


def _accepted(answer: dict[str, Any]) -> Accepted:
    group = answer["group"]
    return Accepted(
        ids=tuple((first, count) for first, count in answer["ids"]),
        group=None if group is None else GroupId(group),
        missing=tuple(answer["missing"]),
        warning=answer["warning"],
    )


def _wanted(wanted: bool) -> dict[str, Any]:
    return {"wanted": wanted}


def _part(answer: dict[str, Any], name: str) -> Any:
    return answer[name]


def _nothing(_: Any) -> None:
    """The answer holds nothing."""
