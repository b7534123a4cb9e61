"""Samples that the network's own answers bring about: what the loop asks a collector for, and when."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import Tensor

from torchsid.tasks import About, Samples, Splits, Task
from torchsid.tasks.domain import Believe, Collector
from torchsid.training import RunDirectory, resolve, train

ROWS, SIZE, EVERY = 50, 8, 3  # 7 steps an epoch


class Echo(Collector):
    """Of some rows the target becomes the class that the network finds the least likely."""

    every = EVERY

    def __init__(self) -> None:
        inputs = torch.randn(ROWS, 5, generator=torch.Generator().manual_seed(0))
        self.samples = Samples(inputs, torch.zeros(ROWS, dtype=torch.int64))
        self.calls: list[Tensor] = []

    def collect(self, believe: Believe, rows: Tensor) -> Mapping[str, float]:
        self.calls.append(rows)
        target = self.samples.target
        assert isinstance(target, Tensor)
        target[rows] = believe(self.samples.inputs[rows])[-1].argmin(-1)
        return {"calls": float(len(self.calls))}

    def try_out(self, believe: Believe, part: str) -> tuple[Samples, Mapping[str, list[float]]]:
        log_beliefs = believe(self.samples.inputs[:])
        held_out = Samples(self.samples.inputs, log_beliefs[-1].argmax(-1))
        return held_out, {"surety": log_beliefs.amax(-1).exp().mean(1).tolist()}


@dataclass(frozen=True, kw_only=True)
class Contrary(Task):
    """What a network believes least."""

    judged_by = "surety"
    collects = True

    def load(self, seed: int) -> Splits:
        echo = Echo()
        MADE.append(echo)
        none = echo.samples.take(slice(0))
        return Splits(echo.samples, none, none, {"name": "contrary", "num_classes": 4}, collector=echo)

    def example(self, about: About) -> Tensor:
        return torch.zeros(2, 5)


MADE: list[Echo] = []
SETTINGS = [
    f"task={__name__}:Contrary",
    *("model.network=plain", "model.trunk=perceptron", "model.width=6", "learner.name=backprop", "watch.conflict=false"),
    *(f"training.batch_size={SIZE}", "training.epochs=2", "training.device=cpu", "training.seed=3"),
]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    return RunDirectory(train(resolve("digits", SETTINGS), tmp_path_factory.mktemp("contrary") / "run"))


def test_it_is_told_which_samples_the_steps_up_to_the_next_call_take(run: RunDirectory) -> None:
    calls = MADE[0].calls
    assert [len(rows) for rows in calls] == [24, 24, 2] * 2
    for epoch in (calls[:3], calls[3:]):
        assert torch.cat(epoch).sort().values.tolist() == list(range(ROWS))


def test_what_it_says_is_recorded_and_its_score_chooses_the_best_epoch(run: RunDirectory) -> None:
    epochs = [each for each in run.metrics() if each["event"] == "epoch"]
    assert [each["collected"] for each in epochs] == [{"calls": 3.0}, {"calls": 6.0}]
    sure = [each["validation"]["scores"]["surety"][-1] for each in epochs]
    evaluation = run.evaluation()
    assert evaluation["best"]["epoch"] == 1 + (sure[1] > sure[0])
    assert evaluation["last"]["test"]["accuracy"][-1] == 1  # the network itself says what is right
    assert evaluation["last"]["test"]["scores"]["surety"][0] == pytest.approx(0.25)
    assert 0 < evaluation["last"]["validation"]["kl"][-1] < 1.4


def test_an_epoch_without_samples_to_hold_out_has_no_score(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Echo, "try_out", lambda self, believe, part: (self.samples.take(slice(0)), {}))
    run = RunDirectory(train(resolve("digits", SETTINGS), tmp_path / "run"))
    assert [each["validation"] for each in run.metrics() if each["event"] == "epoch"] == [None, None]
    assert run.evaluation()["best"]["epoch"] == 2
