import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from torchsid.errors import NonFiniteError, RunError
from torchsid.study.experiments import launch
from torchsid.training import resolve, train
from torchsid.training.interruption import StopRequest

TINY = [
    "data.limit=200",
    "model.depth=2",
    "model.hidden=16",
    "model.feature_dim=16",
    "training.conflict=false",
    "training.threads=1",
    "training.checkpoint_every_seconds=0",
]
EXPERIMENT = """
question = "Does it?"
recipe = "digits"
rates = [0.001]
seeds = [0]

[settings]
"data.limit" = 200
"model.depth" = 2
"model.hidden" = 16
"model.feature_dim" = 16
"training.conflict" = false
"training.epochs" = 60
"training.checkpoint_every_seconds" = 0

[contenders."exact"]
workers = 2
"""


@pytest.mark.parametrize(
    ("settings", "workers", "message"),
    [
        (["model.depth=2"], 4, "workers = 4 for model.depth = 2: at most 3"),
        (["learner.combine=pcgrad"], 2, "pcgrad"),
        (["learner.name=backprop"], 2, "trains in one process"),
        (["distributed.staleness=1"], 1, "distributed.staleness = 1 does nothing in one process"),
    ],
)
def test_what_does_not_fit_the_workers_is_said(settings: list[str], workers: int, message: str) -> None:
    found = list(launch.problems(resolve("digits", ["training.conflict=false", *settings]), workers))
    assert [message in problem for problem in found] == [True]


def test_replicas_share_out_the_workers() -> None:
    staged = ["model.depth=2", "distributed.replicas=2"]
    assert list(launch.problems(resolve("digits-staged", staged), 4)) == []
    uneven, too_many = (list(launch.problems(resolve("digits-staged", staged), workers)) for workers in (3, 6))
    assert "no multiple" in uneven[0]
    assert "at most 4" in too_many[0]


def test_what_fits_is_no_problem() -> None:
    assert list(launch.problems(resolve("digits", ["model.depth=2", "distributed.staleness=4"]), 3)) == []
    assert list(launch.problems(resolve("digits"), 1)) == []


def test_a_signal_is_passed_on_once(tmp_path: Path) -> None:
    program = (
        "import pathlib, signal, sys, time\n"
        "def note(number, frame): print('heard', number, flush=True); sys.exit(7)\n"
        "signal.signal(signal.SIGINT, note)\n"
        "print('ready', flush=True); time.sleep(60)"
    )
    printed = tmp_path / "printed"

    class Later(StopRequest):
        @property
        def signal(self) -> int | None:  # type: ignore[override]
            return signal.SIGINT if "ready" in printed.read_text() else None

    assert launch._run([sys.executable, "-c", program], printed, Later()) == 7
    assert printed.read_text().split() == ["ready", "heard", str(int(signal.SIGINT))]


@pytest.mark.skipif(sys.platform != "linux", reason="no signal at the parent's death")
def test_a_job_does_not_outlive_us_when_we_are_killed(tmp_path: Path) -> None:
    child = f"import os, pathlib, time; pathlib.Path({str(tmp_path / 'pid')!r}).write_text(str(os.getpid())); time.sleep(60)"
    program = (
        "import pathlib, sys\n"
        "from torchsid.study.experiments import launch\n"
        "from torchsid.training.interruption import StopRequest\n"
        f"launch._run([sys.executable, '-c', {child!r}], pathlib.Path({str(tmp_path / 'printed')!r}), StopRequest())"
    )
    parent = subprocess.Popen([sys.executable, "-c", program])
    eventually(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text() != "")
    job = int((tmp_path / "pid").read_text())
    parent.kill()
    parent.wait()
    eventually(lambda: not psutil.pid_exists(job))


def test_a_failure_shows_the_end_of_what_was_said(tmp_path: Path) -> None:
    error = tmp_path / "logs" / "attempt_0" / "1" / "error.json"
    error.parent.mkdir(parents=True)
    error.write_text(json.dumps({"message": {"message": "PeerLostError: worker 0 is gone"}}))
    with pytest.raises(RunError, match="2 workers failed"):
        launch._raise(tmp_path, "run: 2 workers failed")
    error.write_text(json.dumps({"message": {"message": "NonFiniteError: epoch 1, step 2: NaN; lower it"}}))
    with pytest.raises(NonFiniteError, match=r"^epoch 1, step 2"):
        launch._raise(tmp_path, "run: 2 workers failed")


@pytest.mark.slow
def test_divergence_is_the_error_of_one_process(tmp_path: Path) -> None:
    config = resolve("digits", [*TINY, "training.epochs=1", "optimizer.learning_rate=1e30"])
    with pytest.raises(NonFiniteError, match="epoch 1"):
        launch.train_on_workers(config, tmp_path / "run", 2)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_killed_experiment_leaves_no_process_and_goes_on_to_what_one_process_leaves(tmp_path: Path) -> None:
    (tmp_path / "tiny.toml").write_text(EXPERIMENT)
    command = [sys.executable, "-m", "torchsid", "experiment", "tiny.toml", "--out", "out"]
    run = tmp_path / "out" / "runs" / "exact-rate0.001-seed0"

    first = subprocess.Popen(command, cwd=tmp_path, env=os.environ | {"OMP_NUM_THREADS": "1"})
    eventually(lambda: (run / "checkpoints" / "last" / "state.json").exists())
    family = psutil.Process(first.pid).children(recursive=True)
    assert len(family) >= 3  # launcher and workers
    first.terminate()
    assert first.wait(60) == 130
    assert not psutil.wait_procs(family, timeout=10)[1]
    assert json.loads((run / "manifest.json").read_text())["status"] == "interrupted"

    again = subprocess.run(command, cwd=tmp_path, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True)
    manifest = json.loads((run / "manifest.json").read_text())
    assert (again.returncode, manifest["status"]) == (0, "finished"), again.stdout + again.stderr
    assert [worker["extractor"] for worker in manifest["workers"]] == [True, False]
    alone = train(resolve(run / "config.toml"), tmp_path / "alone")
    assert (run / "evaluation.json").read_text() == (alone / "evaluation.json").read_text()


def eventually(holds: Callable[[], bool], seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.05)
