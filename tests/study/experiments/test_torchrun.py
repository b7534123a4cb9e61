import json
import signal
from pathlib import Path

import pytest
from tests.study.experiments.processes import start, stop

from torchsid.study.experiments.torchrun import problems
from torchsid.training import resolve, train

EXPERIMENT = """
question = "Does it?"
recipe = "digits"
rates = [0.001, 1e30]
seeds = [0]

[settings]
"data.limit" = 200
"model.depth" = 2
"watch.conflict" = false
"training.epochs" = 30
"training.checkpoint_every_seconds" = 0

[contenders."exact"]
workers = 2
"""


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
    (tmp_path / "mine.toml").write_text(EXPERIMENT)
    run = tmp_path / "out" / "runs" / "exact-rate0.001-seed0"
    begun = run / "checkpoints" / "last" / "state.json"
    assert stop(start(tmp_path, "mine.toml", "--out", "out"), signal.SIGINT, begun.exists) == 130
    assert json.loads((run / "manifest.json").read_text())["status"] == "interrupted"

    again = start(tmp_path, "mine.toml", "--out", "out")
    said, _ = again.communicate(timeout=200)
    manifest = json.loads((run / "manifest.json").read_text())
    assert (again.returncode, manifest["status"]) == (0, "finished"), said
    assert [worker["extractor"] for worker in manifest["workers"]] == [True, False]
    assert "exact-rate1e+30-seed0" in said
    assert "diverged: epoch 1" in said
    alone = train(resolve(run / "config.toml"), tmp_path / "alone")
    assert (run / "evaluation.json").read_bytes() == (alone / "evaluation.json").read_bytes()
