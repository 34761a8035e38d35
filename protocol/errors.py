"""Every error that ampacity names, in one tree. A docstring's first line is the default message."""

from __future__ import annotations

from typing import Any


class AmpacityError(Exception):
    """Something went wrong in ampacity."""

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or (type(self).__doc__ or "").strip().splitlines()[0])


# -- programming errors: raised where the mistake is made -----------------------------------------


class NotPackable(AmpacityError, TypeError):
    """The function or one of its arguments cannot be packed for another process."""


class BadOption(AmpacityError, TypeError):
    """There is no such option, or its value does not fit."""


class PoolClosed(AmpacityError, RuntimeError):
    """This pool is closed and takes no more jobs."""


class WrongThread(AmpacityError, RuntimeError):
    """This pool belongs to the reactor's thread."""


# -- how a job ended other than well --------------------------------------------------------------


class JobError(AmpacityError):
    """A job did not succeed."""

    job: int | None = None
    """The job's id, once it is known."""

    output: str = ""
    """The last lines that the job printed."""

    evidence: dict[str, Any] | None = None
    """What is known about the end: worker, host, signal, exit code, peak memory."""


class JobFailed(JobError):
    """The job raised an exception that could not be rebuilt here.

    ``type_name`` and ``traceback`` describe the original as text.
    """

    type_name: str = ""
    traceback: str = ""


class NotPlainData(JobFailed):
    """The job's result is not the plain data that was asked for with ``results="data"``.

    Its function gave something else (``type_name`` and ``traceback`` tell); or something else
    arrived, from a worker that does not know the option or is not what it seems, and was not read.
    """


class CommandFailed(JobError):
    """The command ended with an exit code other than 0."""

    exit_code: int | None = None


class JobTimedOut(JobError):
    """The job ran longer than its time-out, or past its deadline, and was ended."""


class JobCancelled(JobError):
    """The job was cancelled."""


class JobCrashed(JobError):
    """The process that ran the job died too often; the job was put aside."""


class ForeignResult(JobError):
    """The job is another client's: nobody unpickles what was not made for them."""


class JobsFailed(AmpacityError):
    """Some jobs of a group did not succeed.

    ``results`` and ``failures`` are by index: values, and the errors.
    """

    def __init__(self, results: dict[int, Any], failures: dict[int, BaseException]) -> None:
        self.results = results
        self.failures = failures
        index, first = min(failures.items(), key=lambda item: item[0])
        total = len(results) + len(failures)
        super().__init__(
            f"{len(failures)} of {total} jobs did not succeed; "
            f"the first, item {index}: {type(first).__name__}: {first}"
        )


# -- between peers --------------------------------------------------------------------------------


class NoCoordinator(AmpacityError):
    """No coordinator answers at this address."""


class CoordinatorLost(AmpacityError):
    """The coordinator that held this job is gone; another one, with another store, answers."""


class Disconnected(AmpacityError, ConnectionError):
    """The connection to the other side is gone."""


class Refused(AmpacityError):
    """The other side refused."""


class TokenRefused(Refused):
    """The token is not known here, has expired, or was revoked."""


class TokenDamaged(Refused):
    """The token is damaged: its checksum does not fit. Copy it again, whole."""


class WrongKey(Refused):
    """The coordinator's key is not the one that the token names."""


class VersionMismatch(Refused):
    """The two sides have no protocol version in common."""


class NotListening(Refused):
    """This coordinator listens on no port: nobody could come with a token."""


class NotAllowed(Refused):
    """This credential may not ask for that."""


class InsecureFolder(Refused):
    """A folder or file that holds secrets can be read by others."""


class AlreadyRunning(Refused):
    """Another coordinator holds this folder."""


class QueueFull(Refused):
    """The coordinator's queue is full."""


class TooMany(Refused):
    """This client has as many connections, sessions or listeners as it may."""


class StorageFull(Refused):
    """The coordinator cannot store more: its disk is full, or results that nobody fetched fill it.

    The message tells which of them. Nothing of what was refused is kept; work that was accepted
    goes on.
    """


class StoreRefused(Refused):
    """The coordinator's store cannot be used: the message tells why, and what to do."""


class Damaged(AmpacityError):
    """What was stored does not fit its checksum: the disk, or somebody, has changed it."""


class NoSuchJob(AmpacityError, LookupError):
    """There is no such job, or it was forgotten."""


class NoSuchGroup(AmpacityError, LookupError):
    """There is no such group, or it was forgotten."""


class NoSuchWorker(AmpacityError, LookupError):
    """There is no such worker."""


class NoSuchToken(AmpacityError, LookupError):
    """There is no such token, or it was revoked or has expired."""


class NoSuchBlob(AmpacityError, LookupError):
    """The value is not stored here (any more)."""


class TooLarge(AmpacityError):
    """The value exceeds a limit."""


class Malformed(AmpacityError):
    """The other side sent something that this protocol does not allow."""


class CannotStart(AmpacityError):
    """A child process cannot be started."""


class NoSuchUser(CannotStart):
    """There is no such user on this machine whom jobs could run as."""


class NotRoot(CannotStart):
    """Only root can run jobs as another user."""
