"""Real jobs under `torchrun`, with accidents: in the end they leave what one process leaves."""

import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import safetensors.torch
import torch
from tests.training.conftest import lasting

from torchsid.training import load_network, resolve, train

SETTINGS = [
    "data.limit=400",
    "data.validation=0.2",
    "training.epochs=4",
    "training.batch_size=64",
    "training.checkpoint_every_seconds=1e-9",  # after every step
    "training.device=cpu",
]
STEPS = 4 * 5

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]  # PyTorch is imported a dozen times


def torchrun(
    workers: int,
    out: Path,
    *arguments: str,
    launcher: tuple[str, ...] = (),
    accidents: list[tuple[int, int, int, str]] | None = None,
) -> subprocess.CompletedProcess[str]:
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    program = ["-m", "torchsid"] if accidents is None else [str(Path(__file__).with_name("accident.py"))]
    command = [sys.executable, "-m", "torch.distributed.run", f"--nproc-per-node={workers}", f"--master-port={port}", *launcher]
    command += [*program, "train", "digits-staged", *(f"--set={setting}" for setting in SETTINGS), f"--out={out}", *arguments]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "ACCIDENTS": json.dumps(accidents)}
    return subprocess.run(command, capture_output=True, text=True, timeout=180, env=environment)


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run of one process."""
    return train(resolve("digits-staged", SETTINGS), tmp_path_factory.mktemp("alone") / "run")


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
    samples = "samples.safetensors"
    assert (run / samples).read_bytes() == (expected / samples).read_bytes()
    assert json.loads((run / "manifest.json").read_text())["status"] == "finished"
    assert {path.name for path in (run / "checkpoints").iterdir()} == {"best", "last"}


def test_two_workers_leave_what_one_process_leaves(tmp_path: Path, alone: Path) -> None:
    done = torchrun(2, tmp_path / "run")
    assert done.returncode == 0, done.stderr
    assert_same_run(tmp_path / "run", alone)
    assert len(re.findall(r"^epoch ", done.stdout + done.stderr, flags=re.MULTILINE)) == 4  # one worker speaks
    workers = json.loads((tmp_path / "run" / "manifest.json").read_text())["workers"]
    assert [worker["rank"] for worker in workers] == [0, 1]
    assert [stage for worker in workers for stage in worker["stages"]] == [1, 2, 3, 4]
    assert load_network(tmp_path / "run").learner.module.depth == 4  # any tool reads it


def test_a_killed_and_an_interrupted_run_go_on_with_any_number_of_workers(tmp_path: Path, alone: Path) -> None:
    run = tmp_path / "run"
    accidents = [(0, 1, 3, "kill"), (1, 0, 8, "halt")]  # the second ends it between the last step of an epoch and its end
    first = torchrun(2, run, launcher=("--max-restarts=1",), accidents=accidents)
    assert first.returncode != 0
    assert status(run) == "interrupted"
    assert steps_done(run) == 2 * 5, first.stderr
    second = torchrun(3, run, "--resume", accidents=[(0, 2, 12, "interrupt")])
    assert second.returncode != 0
    assert 12 <= steps_done(run) < STEPS, second.stderr
    train(resolve("digits-staged", SETTINGS), run, resume=True)
    assert_same_run(run, alone)


def status(run: Path) -> str:
    found: str = json.loads((run / "manifest.json").read_text())["status"]
    return found


def steps_done(run: Path) -> int:
    progress = json.loads((run / "checkpoints" / "last" / "state.json").read_text())["state"]["progress"]
    done: int = (progress["epoch"] - 1) * STEPS // 4 + progress["step"]
    return done


def test_the_error_of_the_worker_that_failed_is_the_one_to_see(tmp_path: Path) -> None:
    done = torchrun(3, tmp_path / "run", accidents=[(0, 1, 3, "raise")])
    assert done.returncode != 0
    cause = done.stderr.partition("Root Cause")[2]
    assert "rank      : 1" in cause
    assert "NonFiniteError: out of luck" in cause
    assert "worker 1 failed: NonFiniteError" in done.stderr  # say the others


def test_more_workers_than_stages_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    done = torchrun(3, tmp_path / "run", "--set=model.depth=2")
    assert done.returncode != 0
    assert "3 workers for 2 stages" in done.stderr.partition("Root Cause")[2]
    assert not (tmp_path / "run").exists()
