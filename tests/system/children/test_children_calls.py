"""Calls in real children: what they find, give, raise, and what is put back after them."""

from __future__ import annotations

import pickle
from pathlib import Path

import cloudpickle
import pytest_twisted
from ampacity.protocol.outcomes import Ending
from ampacity.protocol.packing import pack

ensure = pytest_twisted.ensureDeferred


@ensure
async def test_a_function_is_called_with_its_arguments(worker):
    assert await worker.run("add", 2, 3) == 5
    assert await worker.run("Outer.Inner.deep") == "deep"
    assert await worker.run("add", payload=pack([[2], {"b": 40}]), arguments="json") == 42


@ensure
async def test_reports_tell_when_and_how_long(worker):
    job = worker.submit("time:sleep", 0.05)
    report = await worker.report(job)
    assert report.ending is Ending.SUCCEEDED
    assert 0.05 <= report.seconds < 1
    assert report.began is not None and report.began > 1.5e9
    assert [b.job for b in worker.events.beginnings] == [job]


@ensure
async def test_what_cannot_be_found_is_named(worker):
    error = (await worker.outcome(worker.submit("nowhere:f"))).error
    assert error.type_name == "ModuleNotFoundError"
    assert "'nowhere'" in error.message
    assert "this-worker" in error.message and "python" in error.message
    assert "sys.path" in error.message
    error = (await worker.outcome(worker.submit("ad"))).error
    assert error.type_name == "AttributeError"
    assert "deeds has no 'ad'" in error.message and "add" in error.message
    error = (await worker.outcome(worker.submit("not_callable"))).error
    assert error.type_name == "TypeError" and "an int" in error.message
    error = (await worker.outcome(worker.submit("add", 1, 2, 3))).error
    assert error.type_name == "TypeError" and "positional" in error.message


@ensure
async def test_exceptions_travel_and_the_child_lives_on(worker):
    pid = await worker.run("pid")
    value = await worker.run("fail_with", "chained")
    assert type(value) is ValueError and value.args == ("outer",)
    for name in ("SystemExit", "KeyboardInterrupt", "Interesting"):
        job = worker.submit("fail_with", name)
        outcome = await worker.outcome(job)
        assert outcome.error.type_name.endswith(name)
        assert worker.events.reports[job].ending is Ending.FAILED
    assert await worker.run("pid") == pid


@ensure
async def test_a_traceback_is_whole_and_the_users(worker):
    error = (await worker.outcome(worker.submit("fail_with", "chained"))).error
    assert "KeyError: 'inner'" in error.traceback
    assert "deeds.py" in error.traceback
    assert "calls.py" not in error.traceback


@ensure
async def test_an_exception_that_cannot_be_pickled_or_rebuilt_is_text(worker):
    for name in ("Odd", "Unloadable"):
        outcome = await worker.outcome(worker.submit("fail_with", name))
        assert outcome.value is None
        assert outcome.error.type_name == f"deeds.{name}"
        assert outcome.error.message == "one"


@ensure
async def test_a_result_that_cannot_be_pickled_says_so(worker):
    job = worker.submit("lock")
    outcome = await worker.outcome(job)
    assert worker.events.reports[job].ending is Ending.FAILED
    assert "cannot be pickled" in outcome.error.message and "lock" in outcome.error.message


@ensure
async def test_large_values_travel_as_files(worker):
    for size in (30_000, 70_000, 5_000_000):
        job = worker.submit("large", size)
        assert await worker.value(job) == b"x" * size
        assert bool(worker.events.reports[job].blobs) == (size > 32 * 1024)
    ref = worker.events.keep(pickle.dumps(((b"y" * 1_000_000,), {})))
    assert await worker.run("length", payload=ref) == 1_000_000
    assert not list((worker.folder / "pool").glob("*/results/*"))


@ensure
async def test_results_are_shown(worker):
    shown = (await worker.outcome(worker.submit("add", "é", "x"))).shown
    assert shown == (True, "str", '"éx"')
    shown = (await worker.outcome(worker.submit("add", [1, {"a": None}], []))).shown
    assert shown == (True, "list", '[1, {"a": null}]')
    shown = (await worker.outcome(worker.submit("add", (1,), (2,)))).shown
    assert shown == (False, "tuple", "(1, 2)")


@ensure
async def test_a_missing_blob_fails_the_job(worker):
    ref = worker.events.keep(b"gone")
    worker.events.blobs.clear()
    job = worker.submit("length", payload=ref)
    outcome = await worker.outcome(job)
    assert worker.events.reports[job].ending is Ending.FAILED
    assert outcome.error.type_name == "NoSuchBlob"


@ensure
async def test_functions_by_value_and_their_classes(worker):
    class Local:
        def __init__(self, x):
            self.x = x

    Local.__module__ = "__main__"

    def build(x):
        return Local(x)

    build.__module__ = "__main__"
    ref = worker.events.keep(cloudpickle.dumps(build))
    value = await worker.run("build", 5, kind="value", function=ref)
    assert type(value) is Local and value.x == 5


@ensure
async def test_shipped_modules(worker):
    sources = {
        "gift/__init__.py": "from .inner import f\n",
        "gift/inner.py": "def f():\n    return 7\n",
    }
    ref = worker.events.keep(pack(["gift", True, sources]))
    assert await worker.run("gift:f", ships=(ref,)) == 7
    error = (await worker.outcome(worker.submit("gift:f"))).error
    assert error.type_name == "ModuleNotFoundError"


@ensure
async def test_commands(worker):
    job = worker.submit("sh", "sh", "-c", "echo out; echo err >&2; exit 3", kind="command")
    outcome = await worker.outcome(job)
    assert outcome.exit_code == 3
    assert worker.events.reports[job].ending is Ending.FAILED
    log = await worker.log(job)
    assert (log.stdout.head, log.stderr.head) == (b"out\n", b"err\n")
    codes = {
        "true": ["true"],
        "missing": ["no-such-program-here"],
        "killed": ["sh", "-c", "kill -9 $$"],
        "folder": ["/tmp"],
    }
    got = {}
    for name, words in codes.items():
        got[name] = (await worker.outcome(worker.submit(name, *words, kind="command"))).exit_code
    assert got == {"true": 0, "missing": 127, "killed": 137, "folder": 126}


@ensure
async def test_a_job_leaves_nothing_to_the_next(worker):
    before = await worker.run("state")
    spoilt = await worker.run("spoil")
    job = worker.submit("time:sleep", 0.1)  # the timer that was left would end the child
    assert (await worker.report(job)).ending is Ending.SUCCEEDED
    assert await worker.run("pid") == spoilt
    assert await worker.run("state") == before
    job = worker.submit("say", "still heard")
    assert (await worker.log(job)).stdout.head == b"still heard\n"


@ensure
async def test_the_environment_of_a_job(worker, monkeypatch):
    assert await worker.run("environment", "AMPACITY_JOB_ID") == "1"
    assert await worker.run("environment", "AMPACITY_ATTEMPT") == "1.1"
    assert await worker.run("environment", "MINE", env=(("MINE", "yes"),)) == "yes"
    assert await worker.run("environment", "MINE") is None
    assert await worker.run("environment", "OMP_NUM_THREADS") == "1"
    assert await worker.run("environment", "PATH")


@ensure
async def test_tokens_stay_with_the_agent(make_worker, monkeypatch):
    monkeypatch.setenv("AMPACITY_TOKEN", "secret")
    monkeypatch.setenv("AMPACITY_TOKEN_FILE", "file")
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    worker = await make_worker()
    assert await worker.run("environment", "AMPACITY_TOKEN") is None
    assert await worker.run("environment", "AMPACITY_TOKEN_FILE") is None
    assert await worker.run("environment", "OMP_NUM_THREADS") == "3"


@ensure
async def test_folders(worker, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "here.py").write_text("import os\n\ndef f():\n    return os.getcwd()\n")
    host = worker.pool.info.host
    assert await worker.run("here:f", cwd=None, folder=str(elsewhere), host=host) == str(elsewhere)
    job = worker.submit("here:f", cwd=None, folder=str(elsewhere), host="another")
    assert (await worker.outcome(job)).error.type_name == "ModuleNotFoundError"
    job = worker.submit("add", 1, cwd=str(tmp_path / "missing"))
    assert (await worker.outcome(job)).error.type_name == "FileNotFoundError"


def _deeds():
    source = (Path(__file__).parent / "jobs" / "deeds.py").read_text()
    return pack(["deeds", False, {"deeds.py": source}])


@ensure
async def test_scratch_folders_are_of_one_job(worker):
    first, files = await worker.run("scratch", cwd=None, ships=(worker.events.keep(_deeds()),))
    assert files == ["made.txt"]
    second, files = await worker.run("scratch", cwd=None, ships=(worker.events.keep(_deeds()),))
    assert files == ["made.txt"] and first != second


@ensure
async def test_a_changed_module_gets_a_fresh_child(worker, tmp_path):
    folder = tmp_path / "changing"
    folder.mkdir()
    module = folder / "moving.py"
    module.write_text("def f():\n    return 1\n")
    assert await worker.run("moving:f", cwd=str(folder)) == 1
    module.write_text("def f():\n    return 22\n")
    assert await worker.run("moving:f", cwd=str(folder)) == 22


@ensure
async def test_reload_replaces_the_children(worker):
    before = await worker.run("pid")
    worker.pool.reload()
    await worker.soon(lambda: len(list(worker.pool._crew.all())) == 1)
    assert await worker.run("pid") != before


@ensure
async def test_clients_do_not_share_a_child(worker):
    first = await worker.run("pid", client="one")
    assert await worker.run("pid", client="one") == first
    assert await worker.run("pid", client="two") != first


@ensure
async def test_clients_do_not_share_a_function_of_one_hash(worker):
    """What one client's jobs have made of it is not what another's get."""

    def remember(seen=[]):  # noqa: B006  # what is kept between calls is what is looked at
        seen.append(len(seen))
        return seen

    remember.__module__ = "__main__"
    ref = worker.events.keep(cloudpickle.dumps(remember))
    by_value = {"kind": "value", "function": ref}
    assert await worker.run("remember", client="one", **by_value) == [0]
    assert await worker.run("remember", client="one", **by_value) == [0, 1]
    assert await worker.run("remember", client="two", **by_value) == [0]


@ensure
async def test_a_job_that_cannot_be_read_has_failed(worker):
    bad, good = worker.assignment("add"), worker.assignment("add", 1, 2)
    worker.pool.assign([bad._replace(spec=b"no spec"), good])
    outcome = await worker.outcome(bad.job)
    assert worker.events.reports[bad.job].ending is Ending.FAILED
    assert outcome.error.type_name == "Malformed"
    assert "cannot be read on this worker" in outcome.error.message
    assert await worker.value(good.job) == 3


@ensure
async def test_a_folder_that_is_not_there_is_told_without_a_traceback(worker, tmp_path):
    error = (await worker.outcome(worker.submit("add", 1, cwd=str(tmp_path / "missing")))).error
    assert error.type_name == "FileNotFoundError"
    assert str(tmp_path / "missing") in error.message
    assert error.traceback == f"FileNotFoundError: {error.message}\n"
