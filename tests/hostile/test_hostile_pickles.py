"""A pickle that explodes, in every place that carries bytes: it explodes in a child, or nowhere.

The explosion leaves a file that tells which process it was in.
"""

from __future__ import annotations

import contextlib
import os
import pickle
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import cloudpickle
import msgpack
import psutil
import pytest

from . import peers
from .ground import Ground, wait_until
from .handmade import assigned, delivered, finish, outcome, put, report, spec, submit


class Bomb:
    """Unpickled anywhere, it writes down where."""

    def __init__(self, folder: Path, name: str) -> None:
        self._text = (
            f"import os; open({str(folder)!r} + '/{name}-' + str(os.getpid()), 'w').write("
            "open('/proc/self/cmdline').read())"
        )

    def __reduce__(self) -> Any:
        return exec, (self._text,)


class Craters:
    """Where the bombs of a test have exploded."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.folder = folder

    def bomb(self, name: str) -> bytes:
        return pickle.dumps(Bomb(self.folder, name))

    def found(self) -> dict[str, str]:
        """By name and pid, the command lines of the processes."""
        return {path.name: path.read_text() for path in self.folder.iterdir()}


@pytest.fixture
def craters(ground: Ground, tmp_path: Path) -> Iterator[Craters]:
    """At the end only children have exploded, and this process lives."""
    craters = Craters(tmp_path / "craters")
    agents = {process.pid for process in ground.processes} | {os.getpid()}
    yield craters
    for name, words in craters.found().items():
        assert int(name.rpartition("-")[2]) not in agents, (name, words)
        assert "ampacity.workers.bootstrap" in words, (name, words)


def run(client: peers.Peer, *job: Any) -> list[Any]:
    """Submit a job for the ordinary workers; its delivery."""
    submit(client, job)
    ((_, ending, body),) = delivered(client)
    return [ending, *msgpack.unpackb(body)]


def same_client(ground: Ground) -> peers.Peer:
    """Another session of the client whose ordinary jobs run: in the same children."""
    return peers.client(ground, ground.facts["client"].partition("#")[2])


def test_where_children_unpickle(ground: Ground, craters: Craters) -> None:
    """Payload, function: they explode in the child that runs the job, and in no agent."""
    with same_client(ground) as client:

        def attack() -> None:
            by_value = {**ground.context(), "function": put(client, cloudpickle.dumps(abs))}
            run(client, spec(**by_value), craters.bomb("payload"))
            large = put(client, craters.bomb("large") + b" " * 100_000)
            run(client, spec(**by_value), large)
            by_value["function"] = put(client, craters.bomb("function"))
            run(client, spec(**by_value), pickle.dumps(((1,), {})))

        ground.endures(attack, 0.3)
    where = {name.partition("-")[0] for name in craters.found()}
    assert where == {"payload", "large", "function"}


def test_where_nobody_unpickles(ground: Ground, craters: Craters) -> None:
    """Keys, names, plain arguments, questions: bytes that are no pickle by the protocol."""
    bomb = craters.bomb("nowhere")
    text = bomb.decode("latin-1")[:150]
    with same_client(ground) as client:

        def attack() -> None:
            by_value = {**ground.context(), "function": put(client, cloudpickle.dumps(abs))}
            job = (spec(**by_value, name=text, target=text), pickle.dumps(((1,), {})))
            submit(client, job, keys=[text + os.urandom(4).hex()])
            delivered(client)
            assert run(client, spec(**by_value, arguments="json"), bomb)[0] == 2
            answer = client.ask(
                "Submit",
                sequence=client.sequence,
                group=client.sequence,
                jobs=msgpack.packb([[spec(name=text)], [[0, bomb, None, 0]]]),
            )
            client.sequence += 1
            details = {"group": int(answer[b"group"])}
            assert client.data("Query", "answer", question="group", details=details)["name"] == text
            client.refusal("Query", question="jobs", details=bomb)
            client.refusal("Submit", sequence=client.sequence, jobs=bomb)

        ground.endures(attack, 0.3)
    assert craters.found() == {}


def test_modules_and_commands_are_not_unpickled(ground: Ground, craters: Craters) -> None:
    """Not in the children either: modules travel as text, a command's words as plain data."""
    bomb = craters.bomb("module")
    with same_client(ground) as client:
        by_value = {**ground.context(), "function": put(client, cloudpickle.dumps(abs))}
        ending, *_ = run(client, spec(**by_value, ships=[put(client, bomb)]), bomb[:5])
        assert ending == 2
        ending, *_ = run(client, spec(kind="command", python=None, target="x"), bomb)
        assert ending == 2
    assert craters.found() == {}


def test_what_a_worker_sends(ground: Ground, craters: Craters) -> None:
    """Values, exceptions, logs, its own description, its state: they go through as bytes; and who
    looks at the job on the command line sees text."""
    bomb = craters.bomb("result")
    text = bomb.decode("latin-1")

    def attack() -> None:
        with peers.local(ground) as client:
            info = {"name": text[:100], "host": text[:100], "software": text[:100]}
            with peers.worker(ground, **info) as worker:
                for state in ({"cpu": 1.0, "note": bomb}, {text: text}, {"note": text}):
                    with contextlib.suppress(peers.Refusal):
                        worker.ask("WorkerState", state=state)
                log = msgpack.packb([[bomb, 0, bomb], [bomb, 0, bomb]])
                bodies = [
                    (1, outcome(bomb, [False, "x", text[:100]])),
                    (2, outcome(bomb, None, [text[:100], text, text], bomb)),
                    (1, outcome(put(worker, bomb + b" " * 50_000))),
                    (1, bomb),
                ]
                for ending, body in bodies:
                    (job,) = submit(client, (spec(orphans="keep"), b""))
                    held = assigned(worker, job)
                    output = {"job": job, "stream": 1, "offset": 0, "data": bomb}
                    worker.ask("Output", **output)
                    finish(worker, report(*held, ending, body=body, log=log))
                    ((ended, _, _),) = delivered(client)
                    assert ended == job
                    jobs.append(str(job))

    jobs: list[str] = []
    ground.endures(attack, 0.1)
    for command in ("result", "job", "logs", "wait"):
        ground.cli(command, *jobs[-4:])
    ground.cli("result", *jobs[-4:], "--json")
    assert craters.found() == {}


def test_an_operator_gets_no_value_of_another_client(ground: Ground, craters: Craters) -> None:
    """Whoever watches or reads a foreign job is given nothing to unpickle."""
    bomb = craters.bomb("foreign")
    with peers.client(ground) as owner, peers.worker(ground) as worker:
        (job,) = submit(owner, (spec(), b""))
        held = assigned(worker, job)
        shown = [True, "int", "42"]
        with peers.client(ground, peers.token(ground, "operator")) as operator:
            operator.ask("Watch", jobs=[job])
            finish(worker, report(*held, body=outcome(bomb, shown)))
            ((watched, _, body),) = delivered(operator)
            assert watched == job
            for question in ("job", "result"):
                answer = operator.data("Query", "answer", question=question, details={"job": job})
                for one in (answer["body"], body):
                    assert bomb not in one
                    assert msgpack.unpackb(one)[:2] == [None, shown]
        ((own, _, body),) = delivered(owner)
        assert own == job
        assert msgpack.unpackb(body)[0] == bomb  # his own


def test_the_ordinary_children_are_children(ground: Ground) -> None:
    """What the craters are told by: the agents' processes are not called like their children."""
    for process in ground.workers:
        assert "bootstrap" not in " ".join(psutil.Process(process.pid).cmdline())
        children = psutil.Process(process.pid).children(recursive=True)
        wait_until(partial(_has_booted, children))


def _has_booted(children: Sequence[psutil.Process]) -> bool:
    return any("bootstrap" in " ".join(one.cmdline()) for one in children)
