"""The examples run, in seconds, and end as they say."""

import runpy
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"
ENDS = {  # what the last lines say
    "own_loop": "stage 3: ",
    "scikit_learn": "of the targets lie in intervals",
    "lightning_trainer": "val_accuracy/stage_3",
    "hugging_face": "'train_loss'",
    "new_method": "stage 4: ",
}


def test_all_are_run_and_short() -> None:
    paths = sorted(EXAMPLES.glob("*.py"))
    assert {path.stem for path in paths} == {*ENDS, "two_machines"}
    assert max(len(path.read_text().splitlines()) for path in paths) <= 80


@pytest.mark.parametrize("name", ENDS)
@pytest.mark.filterwarnings("ignore")  # of other libraries
def test_an_example_runs(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(EXAMPLES), *sys.path])
    runpy.run_path(str(EXAMPLES / f"{name}.py"), run_name="__main__")
    assert ENDS[name] in capsys.readouterr().out


def test_two_workers_train_what_one_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    path = str(EXAMPLES / "two_machines.py")
    monkeypatch.setattr(sys, "argv", [path, "one"])
    runpy.run_path(path, run_name="__main__")
    alone = capsys.readouterr().out
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", path, "two"]
    both = subprocess.run(torchrun, capture_output=True, text=True)
    assert both.returncode == 0, both.stderr
    assert both.stdout.splitlines()[-1] == alone.splitlines()[-1].replace("1 workers", "2 workers")
    one, two = (tmp_path / name / "checkpoints/last/model.safetensors" for name in ("one", "two"))
    assert one.read_bytes() == two.read_bytes()
