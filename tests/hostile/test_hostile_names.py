"""Names and texts that mean something to a terminal, a page, a database or a file system.

The coordinator takes them, gives them back as they are, and does nothing else with them. What
people are shown of them is another matter: nothing that acts on a terminal.
"""

from __future__ import annotations

import json

import pytest

from . import peers
from .ground import Ground, decent, unfit
from .handmade import assigned, finish, outcome, put, report, spec, submit

NAMES = {
    "NUL": "a\0b",
    "lines": "a\nb\r\nc",
    "escapes": "\x1b[2J\x1b]0;owned\x07\x9b31m",
    "right to left": "\u202egnp.exe\u2066\u200f",
    "a page": "<script>alert(1)</script>\"'&",
    "SQL": "'; DROP TABLE jobs; --",
    "wild cards": "%_*?[a]\\",
    "a way out": "../../../../tmp/hostile-escape",
    "a whole path": "/tmp/hostile-escape",
    "a format": "{0.__class__} %s %n ${HOME} $(touch /tmp/hostile-escape)",
    "markup": "[bold red]x[/] [link=file:///etc/passwd]y[/link]",
    "separators": "a\u2028b\u2029c\u0085d",
    "no text for anybody": "\ufdd0\uffff\U000e0001",
    "the longest": "ä" * 200,
    "nothing": "",
}


def files_of(ground: Ground) -> set[str]:
    """What lies around the cluster's own folders."""
    beside = {str(path) for path in ground.folder.parent.iterdir()}
    return beside | {str(path) for path in ground.folder.iterdir()}


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_names_are_taken_unharmed(ground: Ground, name: str) -> None:
    before, logged = files_of(ground), ground.coordinator.logged()
    key = (name or "empty")[:150] + str(logged)
    with peers.client(ground) as client, peers.worker(ground, name=name[:100] or "n") as worker:
        own = spec(
            name=name,
            target=name or "t",
            cwd=name or None,
            folder=name or None,
            host=name,
            env=[[name, name]],
            path=[name],
            retry_on=[name],
        )
        (job,) = submit(client, (own, b""), keys=[key])
        assert submit(client, (own, b""), keys=[key]) == [job]
        held = assigned(worker, job)
        body = outcome(b"", [False, name, name], ["builtins.ValueError", name, name], name.encode())
        finish(worker, report(*held, 2, body=body))
        client.acknowledge(client.next("Delivered"))
        details = {"job": job}
        known = client.data("Query", "answer", question="job", details=details)
        assert (known["name"], known["target"], known["key"]) == (name, name or "t", key)
        listed = client.data(
            "Query", "answer", question="jobs", details={"name": name, "limit": 500}
        )
        assert job in [one["id"] for one in listed["jobs"]]
        selected = client.data(
            "Query", "answer", question="jobs", details={"name": "%", "limit": 5}
        )
        assert name == "%" or selected["jobs"] == []
        workers = client.data("Query", "answer", question="workers", details={})
        assert len(workers) >= 3
    assert files_of(ground) == before
    decent(ground.coordinator.log(logged))


def test_what_the_command_line_shows_of_them(ground: Ground) -> None:
    """No output of it does anything to a terminal; as JSON it is JSON."""
    with peers.local(ground) as client, peers.worker(ground, name="\x1b[2J\n") as worker:
        jobs = []
        for name in NAMES.values():
            own = spec(name=name, target=name or "t", orphans="keep")
            (job,) = submit(client, (own, b""))
            held = assigned(worker, job)
            body = outcome(b"", None, ["builtins.ValueError", name, name], b"")
            finish(worker, report(*held, 2, body=body))
            client.acknowledge(client.next("Delivered"))
            jobs.append(str(job))
        for words in (["jobs"], ["workers"], *(["job", job] for job in jobs[2:4])):
            plain = ground.cli(*words)
            assert plain.returncode == 0, words
            assert not unfit(plain.stdout.decode()), words
        for words in (["jobs", "--json"], ["workers", "--json"], ["job", jobs[2], "--json"]):
            for line in ground.cli(*words).stdout.decode().splitlines():
                json.loads(line)


def test_a_token_is_asked_for_with_such_a_name(ground: Ground) -> None:
    before = files_of(ground)
    for name in NAMES.values():
        with peers.local(ground) as user:
            try:
                answer = user.ask("CreateToken", role="viewer", name=name)
            except peers.Refusal as refusal:
                assert refusal.code in ("MALFORMED", "TOO_LARGE")
            else:
                user.ask("RevokeToken", token=answer[b"token"], joined=False)
    assert files_of(ground) == before


def test_a_value_is_named_by_its_hash_and_by_nothing_else(ground: Ground) -> None:
    with peers.client(ground) as client:
        for digest in (b"../../../../../../../../tmp/host", b"/tmp/" + b"x" * 27, b"\0" * 32):
            assert len(digest) == 32
            chunk = {"digest": digest, "size": 4, "offset": 0, "data": b"owns"}
            assert client.refusal("PutChunk", **chunk).code == "MALFORMED"
            assert client.refusal("GetChunk", digest=digest, offset=0).code == "NO_SUCH_BLOB"
        assert put(client, b"honest")[1] == 6
