"""Children that run as another user: what they may, what they may not, and that all else works."""

from __future__ import annotations

import os
import pwd
import signal
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from ampacity.protocol.errors import CannotStart, NoSuchUser, NotRoot
from ampacity.protocol.jobs import BlobRef
from ampacity.protocol.outcomes import Ending
from ampacity.workers.rights import JobUser

NOBODY = "nobody"

JOBS = '''
import os, sys

def who():
    groups = os.getgroups()
    return os.getresuid(), os.getresgid(), groups, os.environ.get("HOME"), os.environ.get("USER")

def everything_of_the_environment():
    return dict(os.environ)

def working_folder():
    here = os.getcwd()
    about = os.stat(here)
    open("written", "w").close()
    return about.st_uid, about.st_mode & 0o777

def read(path):
    with open(path, "rb") as file:
        return file.read()

def list_folder(path):
    return os.listdir(path)

def back_to_root():
    found = []
    for call in (lambda: os.setuid(0), lambda: os.seteuid(0), lambda: os.setresuid(0, 0, 0)):
        try:
            call()
        except PermissionError:
            found.append("refused")
    status = open("/proc/self/status").read()
    lines = dict(line.split(":", 1) for line in status.splitlines())
    return found, lines["NoNewPrivs"].strip(), int(lines["CapEff"], 16), int(lines["CapPrm"], 16)

def signal_it(pid, number=0):
    os.kill(pid, number)

def trace(pid):
    import ctypes
    libc = ctypes.CDLL(None, use_errno=True)
    libc.ptrace.argtypes = [ctypes.c_long] * 4
    answer = libc.ptrace(16, pid, 0, 0)  # PTRACE_ATTACH
    return answer, ctypes.get_errno()

def large(size):
    return os.urandom(size)

def stubborn():
    import signal, time
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    print("ready", flush=True)
    time.sleep(600)

def length(data):
    return len(data)

def shell_error():
    import subprocess
    return subprocess.run("echo to-stderr > /dev/stderr", shell=True).returncode

def forge(kind, target):
    """Report a result file which is something else."""
    import ampacity.workers.calls as calls
    from ampacity.workers.calls import Ended
    from ampacity.protocol.outcomes import Ending
    own = calls.Calls._succeeded
    def forged(self, spec, value):
        calls.Calls._succeeded = own
        real = own(self, spec, b"x" * 1000000)
        digest, size, path = real.blobs[0]
        if kind == "elsewhere":
            path = target
        elif kind == "link":
            os.unlink(path)
            os.symlink(target, path)
        elif kind == "pipe":
            os.unlink(path)
            os.mkfifo(path)
        elif kind == "hash":
            open(path, "r+b").write(b"y")
        return Ended(real.ending, real.body, [[digest, size, path]])
    calls.Calls._succeeded = forged
    return 1
'''


class Another:
    """A worker whose jobs run as nobody."""

    def __init__(self, worker: Any, folder: Path) -> None:
        self.worker = worker
        theirs = folder / "theirs"
        theirs.mkdir(mode=0o755, exist_ok=True)
        (theirs / "another_users.py").write_text(JOBS)
        self._folder = str(theirs)

    def submit(self, target: str, *args: Any, **options: Any) -> int:
        options.setdefault("path", (self._folder,))
        from ampacity.workers.machine import identity

        options.setdefault("host", identity())
        options.setdefault("cwd", None)
        job: int = self.worker.submit(f"another_users:{target}", *args, **options)
        return job

    async def run(self, target: str, *args: Any, **options: Any) -> Any:
        return await self.worker.value(self.submit(target, *args, **options))

    async def error(self, target: str, *args: Any, **options: Any) -> Any:
        report = await self.worker.report(self.submit(target, *args, **options))
        assert report.ending is Ending.FAILED
        return (await self.worker.outcome(report.job)).error


@pytest_twisted.async_yield_fixture
async def another(make_another: Any) -> Any:
    """A worker of one slot whose jobs run as nobody."""
    yield await make_another()


@pytest.fixture
def user(their_python: Any) -> JobUser:
    found: JobUser = their_python.user
    return found


@pytest.fixture
def make_another(make_worker: Any, their_python: Any, tmp_path: Path) -> Any:
    async def make() -> Another:
        worker = await make_worker(user=their_python.user, python=their_python.python)
        worker.folder.chmod(0o755)
        return Another(worker, tmp_path)

    return make


class TestRights:
    async def test_who_they_are(self, another: Another, user: JobUser) -> None:
        uids, gids, groups, home, name = await another.run("who")
        assert uids == (user.uid,) * 3
        assert gids == (user.gid,) * 3
        assert set(groups) == set(user.groups)
        assert (home, name) == (pwd.getpwnam(NOBODY).pw_dir, "nobody")

    async def test_there_is_no_way_back(self, another: Another) -> None:
        assert await another.run("back_to_root") == (["refused"] * 3, "1", 0, 0)

    async def test_the_agent_is_out_of_reach(self, another: Another) -> None:
        agent = os.getpid()
        for number in (0, signal.SIGTERM, signal.SIGKILL):
            error = await another.error("signal_it", agent, number)
            assert error.type_name == "PermissionError"
        answer, _why = await another.run("trace", agent)
        assert answer == -1
        for name in ("environ", "mem", "maps"):
            assert (await another.error("read", f"/proc/{agent}/{name}")).type_name == (
                "PermissionError"
            )

    async def test_the_agents_environment_stays_with_it(
        self, make_another: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("DATABASE_PASSWORD", "secret")
        monkeypatch.setenv("XDG_RUNTIME_DIR", "/run/user/0")
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
        fresh = await make_another()
        environment = await fresh.run("everything_of_the_environment", env=(("MINE", "1"),))
        assert "secret" not in environment.values()
        assert not {"DATABASE_PASSWORD", "XDG_RUNTIME_DIR"} & environment.keys()
        assert environment["CUDA_VISIBLE_DEVICES"] == "1"
        assert environment["MINE"] == "1"
        assert environment["AMPACITY_JOB_ID"] == "1"

    async def test_a_folder_of_their_own_and_no_other(self, another: Another) -> None:
        uid, mode = await another.run("working_folder")
        assert uid == pwd.getpwnam(NOBODY).pw_uid
        assert mode & 0o077 == 0 or mode == 0o755  # what is above it is nobody's alone
        pool = another.worker.folder / "pool"
        for folder in (pool, *pool.iterdir()):
            error = await another.error("list_folder", str(folder))
            assert error.type_name == "PermissionError", folder


class TestWork:
    """Everything that works for children of the agent's own user."""

    async def test_large_values_both_ways(self, another: Another) -> None:
        import pickle

        from ampacity.protocol.limits import INLINE_LIMIT

        result = await another.run("large", 5 * INLINE_LIMIT)
        assert len(result) == 5 * INLINE_LIMIT
        events = another.worker.events
        ref = events.keep(pickle.dumps(((b"v" * 3_000_000,), {})))
        events.blobs[ref.digest].chmod(0o600)
        values = another.worker.folder / "values"
        values.mkdir(mode=0o700)
        events.blobs[ref.digest] = events.blobs[ref.digest].rename(values / ref.digest.hex())
        assert await another.run("length", payload=ref) == 3_000_000
        assert values.stat().st_mode & 0o777 == 0o710

    async def test_a_function_by_value(self, another: Another) -> None:
        import cloudpickle

        def uid() -> int:
            import os

            return os.getuid()

        ref = another.worker.events.keep(cloudpickle.dumps(uid))
        job = another.worker.submit("uid", kind="value", function=ref, cwd=None)
        assert await another.worker.value(job) == pwd.getpwnam(NOBODY).pw_uid

    async def test_a_shipped_module(self, another: Another) -> None:
        from ampacity.protocol.packing import pack

        packed = pack(["shipped_one", False, {"shipped_one.py": "def f():\n    return 7\n"}])
        ref = another.worker.events.keep(packed)
        job = another.worker.submit("shipped_one:f", ships=(ref,), cwd=None)
        assert await another.worker.value(job) == 7

    async def test_a_command_and_its_output(self, another: Another) -> None:
        worker = another.worker
        job = worker.submit("id", "sh", "-c", "id -u; echo oops >&2; exit 3", kind="command")
        assert (await worker.report(job)).ending is Ending.FAILED
        assert (await worker.outcome(job)).exit_code == 3
        log = await worker.log(job)
        assert log.stdout.head == b"%d\n" % pwd.getpwnam(NOBODY).pw_uid
        assert log.stderr.head == b"oops\n"

    async def test_dev_stderr_can_be_opened(self, another: Another) -> None:
        job = another.submit("shell_error")
        assert await another.worker.value(job) == 0
        assert (await another.worker.log(job)).stderr.head == b"to-stderr\n"

    async def test_cancel_time_out_and_crash(self, another: Another) -> None:
        worker = another.worker
        stubborn = another.submit("stubborn", attach=True)
        await worker.events.until(lambda: worker.events.printed[stubborn, 1])
        worker.end(stubborn)
        report = await worker.report(stubborn)
        assert report.ending is Ending.CANCELLED
        assert (await worker.outcome(stubborn)).evidence.signal == "SIGKILL"
        late = worker.submit("sleep", "sleep", "60", kind="command", timeout=0.2)
        assert (await worker.report(late)).ending is Ending.TIMED_OUT
        crashed = worker.submit("sh", "sh", "-c", "kill -9 $PPID", kind="command")
        assert (await worker.report(crashed)).ending is Ending.LOST

    async def test_nothing_is_left(self, another: Another) -> None:
        worker = another.worker
        await another.run("large", 200_000)
        await worker.stop(0)
        assert list((worker.folder / "pool").iterdir()) == []


class TestHostileChildren:
    """Root reads, renames and removes nothing that a child points at."""

    @pytest.mark.parametrize("kind", ["elsewhere", "link", "pipe", "hash"])
    async def test_a_forged_result(self, another: Another, tmp_path: Path, kind: str) -> None:
        target = tmp_path / "roots-own"
        target.write_bytes(b"x" * 1_000_000)
        target.chmod(0o600)
        error = await another.error("forge", kind, str(target))
        assert "file" in error.message
        assert target.read_bytes() == b"x" * 1_000_000
        assert target.stat().st_mode & 0o777 == 0o600
        assert await another.run("length", b"abc") == 3

    async def test_a_hard_link_is_no_result(self, user: JobUser, tmp_path: Path) -> None:
        from ampacity.protocol.errors import Malformed
        from ampacity.workers.resultfiles import _take

        target = tmp_path / "secret"
        target.write_bytes(b"secret")
        os.link(target, tmp_path / "child-1-1")
        with pytest.raises(Malformed):
            _take(tmp_path / "child-1-1", tmp_path / "taken", BlobRef(b"d" * 32, 6), user.uid)
        assert target.read_bytes() == b"secret"


class TestRefusals:
    def test_nobody_of_that_name(self) -> None:
        for name in ("no-such-user-here", "", "4000000000", "1" * 30):
            with pytest.raises(NoSuchUser, match="no such user"):
                JobUser.named(name)

    @pytest.mark.parametrize("name", ["root", "0"])
    def test_root_is_none(self, name: str) -> None:
        with pytest.raises(NoSuchUser, match="useradd"):
            JobUser.named(name)

    def test_who_is_not_root_cannot(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(os, "geteuid", lambda: 12345)
        with pytest.raises(NotRoot, match="only root"):
            JobUser.named(NOBODY)

    def test_who_is_that_user_already(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(os, "geteuid", lambda: pwd.getpwnam(NOBODY).pw_uid)
        assert JobUser.named(NOBODY) is None

    async def test_an_interpreter_that_the_user_cannot_run(
        self, make_worker: Any, tmp_path: Path, user: JobUser
    ) -> None:
        private = tmp_path / "private"
        private.mkdir(mode=0o700)
        (private / "python").write_text("#!/bin/sh\n")
        (private / "python").chmod(0o755)
        worker = await make_worker(user=user, python=str(private / "python"), started=False)
        with pytest.raises(CannotStart, match=r"the user nobody cannot run .*Permission denied"):
            await worker.pool.start()
