import json
import signal
import sys
from pathlib import Path

import pytest
from tests.study.experiments.processes import finish, start, stop, write_question

from torchsid.errors import DataError, NonFiniteError, RunError
from torchsid.study.experiments.torchrun import problems, train_on_workers
from torchsid.training import resolve, train


@pytest.mark.parametrize(
    ("recipe", "settings", "workers", "messages"),
    [
        ("digits", [], 1, []),
        ("digits", ["distributed.staleness=4"], 3, []),
        ("digits", [], 4, ["4 workers for 2 stages: at most 3"]),
        ("digits", ["learner.combine=pcgrad"], 2, ["pcgrad"]),
        ("digits", ["learner.name=backprop"], 2, ["trains in one process"]),
        ("digits", ["distributed.staleness=1"], 1, ["distributed.staleness = 1 does nothing in one process"]),
        ("digits-staged", ["distributed.replicas=2"], 4, []),
        ("digits-staged", ["distributed.replicas=2"], 3, ["no multiple"]),
        ("digits-staged", ["distributed.replicas=2"], 6, ["at most 4"]),
    ],
)
def test_what_does_not_fit_the_workers_is_said(recipe: str, settings: list[str], workers: int, messages: list[str]) -> None:
    found = problems(resolve(recipe, ["model.depth=2", *settings]), workers)
    assert all(message in problem for message, problem in zip(messages, found, strict=True))


LAUNCHER = """#!/bin/sh
for each; do case "$each" in --log-dir=*) logs="${each#*=}"; esac; done
mkdir -p "$logs/0" && echo '{"message": {"message": "%s"}}' > "$logs/0/error.json"
exit 1
"""


@pytest.mark.parametrize("kind", [NonFiniteError, DataError, RunError])
def test_the_error_of_a_worker_is_raised_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: type[ValueError]) -> None:
    launcher = tmp_path / "launcher"
    launcher.write_text(LAUNCHER % f"{kind.__name__}: epoch 1")
    launcher.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(launcher))
    with pytest.raises(kind):
        train_on_workers(resolve("digits"), tmp_path / "run", 2)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_killed_job_leaves_no_process_and_goes_on_to_what_one_process_leaves(tmp_path: Path) -> None:
    write_question(tmp_path, rates=[0.001], contender="workers = 2")
    run = tmp_path / "out" / "runs" / "it-rate0.001-seed0"
    assert stop(start(tmp_path), signal.SIGINT, run) == 130
    finish(start(tmp_path))
    assert [worker["extractor"] for worker in json.loads((run / "manifest.json").read_text())["workers"]] == [True, False]
    alone = train(resolve(run / "config.toml"), tmp_path / "alone")
    assert (run / "evaluation.json").read_bytes() == (alone / "evaluation.json").read_bytes()
