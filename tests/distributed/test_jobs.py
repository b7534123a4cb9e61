"""Real jobs of torchrun's agent, with accidents: in the end they leave what one process leaves."""

import json
import os
import re
import signal
import socket
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import pytest
import safetensors.torch
import torch
from tests.distributed.accident import Accident, stumble
from tests.distributed.workers import ready
from tests.training.conftest import lasting
from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, SignalException, Std
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from torchsid.training import load_network, resolve, train

COMMON = [
    "data.limit=400",
    "data.validation=0.2",
    "training.epochs=3",
    "training.batch_size=64",
    "training.device=cpu",
    "watch.conflict=false",  # which no worker can measure
]
SETTINGS = {
    "digits-staged": [*COMMON, "model.width=32"],
    "digits": [*COMMON, "model.feature_dim=16", "model.hidden=16"],
    "shakespeare": [
        *("data.context=8", "model.width=16", "model.blocks=2", "model.depth=2", "model.by=graph"),
        *("training.epochs=1", "training.batch_size=16", "training.device=cpu"),
    ],
}
STEPS = 5  # an epoch

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def launch(
    workers: int, out: Path, *arguments: str, recipe: str = "digits-staged", restarts: int = 0, accidents: Sequence[Accident] = ()
) -> str:
    """Train as `torchrun` does, but with workers that need not import PyTorch; return what the launcher says of a failure."""
    ready()
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=workers,
        rdzv_backend="static",
        rdzv_endpoint=f"localhost:{port}",
        rdzv_configs={"rank": 0},
        max_restarts=restarts,
        monitor_interval=0.1,
        start_method="forkserver",
        logs_specs=DefaultLogsSpecs(log_dir=str(out.with_name("logs")), redirects=Std.ALL),
    )
    # A run that meets accidents is saved after every step.
    settings = [*SETTINGS[recipe], *(["training.checkpoint_every_seconds=1e-9"] if accidents else [])]
    command = ["train", recipe, *(f"--set={setting}" for setting in settings), f"--out={out}", *arguments]
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)}
    try:
        elastic_launch(config, stumble)(os.getpid(), list(accidents), command)
    except (ChildFailedError, SignalException) as error:
        return str(error)
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    return ""


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory):  # noqa: ANN201
    """The run of one process, by recipe."""
    return cache(lambda recipe: train(resolve(recipe, SETTINGS[recipe]), tmp_path_factory.mktemp("alone") / "run"))


def assert_same_run(run: Path, expected: Path) -> None:
    for which in ("last", "best"):
        names = sorted(path.name for path in (expected / "checkpoints" / which).iterdir())
        assert sorted(path.name for path in (run / "checkpoints" / which).iterdir()) == names
        for name in ("model.safetensors", "optimizer.safetensors"):
            found, wanted = (safetensors.torch.load_file(each / "checkpoints" / which / name) for each in (run, expected))
            assert found.keys() == wanted.keys()
            assert [key for key, tensor in wanted.items() if not torch.equal(found[key], tensor)] == []
    assert lasting(run) == lasting(expected)
    assert json.loads((run / "evaluation.json").read_text()) == json.loads((expected / "evaluation.json").read_text())
    shown = [path.name for path in expected.glob("*.safetensors")]  # samples, or a passage of a text
    assert shown
    assert all((run / name).read_bytes() == (expected / name).read_bytes() for name in shown)
    assert json.loads((run / "manifest.json").read_text())["status"] == "finished"
    assert {path.name for path in (run / "checkpoints").iterdir()} == {"best", "last"}


def streamed(folder: Path) -> list[str]:
    """Return the arguments with which inputs are read batch by batch."""
    folder.mkdir()
    return ["--set=task=tests.distributed.streamed:Streamed", f"--set=data.path={folder}"]


def reads(folder: Path, part: str, rank: int) -> list[list[int]]:
    """Return the rows of every batch that a worker has read."""
    file = folder / f"{part}.{rank}"
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


@pytest.mark.parametrize(("recipe", "workers"), [("digits-staged", 2), ("digits", 3)])
def test_workers_leave_what_one_process_leaves(tmp_path: Path, alone, recipe: str, workers: int) -> None:  # noqa: ANN001
    """One has all inputs in memory, of the others one alone reads them, and the lead those that it shows."""
    run, files = tmp_path / "run", tmp_path / "files"
    assert launch(workers, run, *streamed(files), recipe=recipe) == ""
    assert sum(map(len, reads(files, "train", 0))) > 3 * 320
    assert [reads(files, "train", rank) for rank in range(1, workers)] == [[]] * (workers - 1)
    assert sum(map(len, reads(files, "validation", workers - 1))) == 12
    assert_same_run(run, alone(recipe))
    said = "".join(log.read_text() for log in tmp_path.glob("logs/**/std*.log"))
    assert len(re.findall(r"^epoch ", said, flags=re.MULTILINE)) == 3  # one worker speaks
    told = json.loads((run / "manifest.json").read_text())["workers"]
    assert [each["rank"] for each in told] == list(range(workers))
    assert [each["extractor"] for each in told] == [recipe == "digits", *(workers - 1) * [False]]
    depth = load_network(run).learner.module.depth  # any tool reads it
    assert [stage for each in told for stage in each["stages"]] == list(range(1, depth + 1))


def test_targets_that_are_read_are_read_by_every_worker(tmp_path: Path) -> None:
    """Of a text, what follows is in the same file as what is read, which one worker alone needs."""
    (tmp_path / "text.txt").write_text("She sells sea shells by the sea shore.\n" * 25)
    places = [f"data.path={tmp_path / 'text.txt'}", f"data.cache={tmp_path / 'cache'}"]
    assert launch(2, tmp_path / "run", *(f"--set={place}" for place in places), recipe="shakespeare") == ""
    assert_same_run(tmp_path / "run", train(resolve("shakespeare", [*SETTINGS["shakespeare"], *places]), tmp_path / "alone"))


def test_replicas_read_disjoint_parts(tmp_path: Path) -> None:
    files, settings = tmp_path / "files", ["distributed.replicas=2", "training.epochs=1", "watch.certify=false"]
    assert launch(2, tmp_path / "run", *streamed(files), *(f"--set={setting}" for setting in settings)) == ""
    for part, count, size in (("train", 320, 32), ("validation", 80, 40)):
        own = [{row for batch in reads(files, part, rank) if len(batch) == size for row in batch} for rank in (0, 1)]
        assert list(map(len, own)) == [count // 2] * 2
        assert own[0] | own[1] == set(range(count))


def test_a_killed_and_an_interrupted_run_go_on_with_any_number_of_workers(tmp_path: Path, alone) -> None:  # noqa: ANN001
    run = tmp_path / "run"
    # The second ends it between the last step of an epoch and its end.
    assert launch(2, run, restarts=1, accidents=[(0, 1, 1, "kill"), (1, 0, 3, "halt")])
    assert json.loads((run / "manifest.json").read_text())["status"] == "interrupted"
    assert steps_done(run) == STEPS
    assert launch(3, run, "--resume", accidents=[(0, 2, 7, "interrupt")])
    assert 7 <= steps_done(run) < 3 * STEPS
    train(resolve(run / "config.toml"), run, resume=True)
    assert_same_run(run, alone("digits-staged"))


def steps_done(run: Path) -> int:
    progress = json.loads((run / "checkpoints" / "last" / "state.json").read_text())["state"]["progress"]
    done: int = (progress["epoch"] - 1) * STEPS + progress["step"]
    return done


def test_the_error_of_the_worker_that_failed_is_the_one_to_see(tmp_path: Path) -> None:
    cause = launch(3, tmp_path / "run", accidents=[(0, 1, 3, "raise")]).partition("Root Cause")[2]
    assert "rank      : 1" in cause
    assert "NonFiniteError: out of luck" in cause
    said = "".join(log.read_text() for log in tmp_path.glob("logs/**/stderr.log"))
    assert said.count("torchsid: error: ") == said.count("torchsid: error: out of luck") == 1
