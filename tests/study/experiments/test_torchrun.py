import json
import signal
from pathlib import Path

import pytest
from tests.study.experiments.processes import finish, start, stop, write_question

from torchsid.study.experiments.torchrun import problems
from torchsid.training import resolve, train


@pytest.mark.parametrize(
    ("settings", "workers", "messages"),
    [
        ([], 1, []),
        (["distributed.staleness=4"], 3, []),
        ([], 4, ["workers = 4 for model.depth = 2: at most 3"]),
        (["learner.combine=pcgrad"], 2, ["pcgrad"]),
        (["learner.name=backprop"], 2, ["trains in one process"]),
        (["distributed.staleness=1"], 1, ["distributed.staleness = 1 does nothing in one process"]),
    ],
)
def test_what_does_not_fit_the_workers_is_said(settings: list[str], workers: int, messages: list[str]) -> None:
    found = list(problems(resolve("digits", ["watch.conflict=false", "model.depth=2", *settings]), workers))
    assert len(found) == len(messages)
    assert all(message in problem for message, problem in zip(messages, found, strict=True))


@pytest.mark.parametrize(("workers", "message"), [(4, ""), (3, "no multiple"), (6, "at most 4")])
def test_replicas_share_out_the_workers(workers: int, message: str) -> None:
    found = list(problems(resolve("digits-staged", ["model.depth=2", "distributed.replicas=2"]), workers))
    assert [message in problem for problem in found] == [True] * bool(message)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_killed_job_leaves_no_process_and_goes_on_to_what_one_process_leaves(tmp_path: Path) -> None:
    write_question(tmp_path, rates=[0.001, 1e30], contender="workers = 2")
    run = tmp_path / "out" / "runs" / "it-rate0.001-seed0"
    assert stop(start(tmp_path), signal.SIGINT, run) == 130
    said = finish(start(tmp_path))
    assert "diverged: epoch 1" in said
    assert [worker["extractor"] for worker in json.loads((run / "manifest.json").read_text())["workers"]] == [True, False]
    alone = train(resolve(run / "config.toml"), tmp_path / "alone")
    assert (run / "evaluation.json").read_bytes() == (alone / "evaluation.json").read_bytes()
