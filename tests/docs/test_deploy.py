"""What lies in examples/deploy is as far as can be told without the systems that it is for."""

from __future__ import annotations

import json
import re

import click
import pytest
from ampacity.cli.tree import tree
from ampacity.tests.docs import clusters, shown

DEPLOY = shown.ROOT / "examples" / "deploy"
MANIFESTS = (DEPLOY / "kubernetes.yaml").read_text()
LINES = [json.loads(words) for words in re.findall(r"(?:args|command): (\[.*?\])", MANIFESTS)]


@pytest.mark.parametrize("words", LINES, ids=" ".join)
def test_the_command_lines_of_the_manifests_are_understood(words: list[str]) -> None:
    given = words[1:] if words[0] == "ampacity" else words
    context = tree.make_context("ampacity", given, resilient_parsing=False)
    name, command, rest = tree.resolve_command(context, [*context._protected_args, *context.args])
    assert name is not None and command is not None
    assert isinstance(command.make_context(name, rest, parent=context), click.Context)


def test_the_manifests_have_three_command_lines_and_more() -> None:
    assert len(LINES) >= 4
    assert {line[0] for line in LINES} == {"coordinator", "join", "ampacity"}


def test_what_was_not_run_says_so() -> None:
    assert "were not run" in MANIFESTS
    assert "not under Slurm" in (DEPLOY / "worker.sbatch").read_text()


def test_the_batch_script_brings_a_worker() -> None:
    with clusters.cluster() as cluster:
        cluster.secret("worker.token", cluster.ready["join"])
        slurm = {"AMPACITY_TOKEN_FILE": "worker.token", "SLURM_JOB_ID": "7"}
        cluster.start("bash", str(DEPLOY / "worker.sbatch"), **slurm)
        worker = clusters.until(lambda: cluster.ask("workers")[0])
        assert worker["name"].endswith("-7")
        assert worker["slots"] == 1
