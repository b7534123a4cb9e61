"""A domain that is not images, written here: it goes through the same commands, with a belief at every position of a sample."""

import json
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from torchsid.cli.main import main
from torchsid.settings import Count
from torchsid.tasks import About, Samples, Splits, Task
from torchsid.tasks.domain import generator_at
from torchsid.training import load_network


@dataclass(frozen=True, kw_only=True)
class Parity(Task):
    """Rows of bits `[N, T]`: at every position, is the number of ones so far odd? What lies behind a row's end has weight 0."""

    length: Count = 6
    """Bits a row, T."""
    padding: int = -1
    """What stands for the answer behind the end."""

    positions = "tokens"

    def load(self, seed: int) -> Splits:
        def rows(purpose: str, count: int) -> Samples:
            generator = generator_at(purpose, 0)
            bits = torch.randint(0, 2, (count, self.length), generator=generator)
            inside = torch.arange(self.length) < torch.randint(2, self.length + 1, (count, 1), generator=generator)
            return Samples(bits, torch.where(inside, bits.cumsum(1) % 2, self.padding), weight=inside.float())

        parts = (rows(purpose, count) for purpose, count in (("train", 300), ("validation", 100), ("test", 100)))
        return Splits(*parts, {"name": "parity", "num_classes": 2, "length": self.length})

    def example(self, about: About) -> Tensor:
        return torch.zeros(2, about["length"])

    def prepare(self, inputs: Tensor, about: About) -> Tensor:
        return inputs.float()


class Reader(nn.Module):
    """Maps bits `[B, T]` to features `[B, T, F]`."""

    def __init__(self, example: Tensor, *, feature_dim: Count = 16) -> None:
        super().__init__()
        self.feature_dim = feature_dim
        self.recurrent = nn.GRU(1, feature_dim, batch_first=True)

    def forward(self, bits: Tensor) -> Tensor:
        features: Tensor = self.recurrent(bits.unsqueeze(-1))[0]
        return features


RECIPE = f"""
description = "Parity by a shared cascade"
task = "{__name__}:Parity"
model = {{extractor = "{__name__}:Reader", depth = 2, hidden = 16}}
optimizer = {{learning_rate = 2e-2}}
training = {{epochs = 8, batch_size = 50, threads = 1, device = "cpu"}}
watch = {{certify = true}}
"""


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("parity") / "parity.toml"
    path.write_text(RECIPE)
    return path


@pytest.fixture(scope="module")
def run(recipe: Path) -> Path:
    assert main(["train", str(recipe), "--out", str(recipe.parent / "run"), "--quiet"]) == 0
    return recipe.parent / "run"


def evaluation(run: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((run / "evaluation.json").read_text())
    return found


KEYS = ("train_loss", "train_stage_losses", "train_accuracy", "validation", "descent")


def what_was_learnt(run: Path) -> list[object]:
    """The weights to the byte, and every number that does not depend on the clock."""
    weights = [path.read_bytes() for path in sorted((run / "checkpoints" / "last").glob("*.safetensors"))]
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    numbers = [record[key] for record in records if record["event"] == "epoch" for key in KEYS]
    return [*weights, numbers, evaluation(run)]


def test_it_learns_at_every_position(run: Path) -> None:
    network, test = load_network(run), Parity().load(0).test
    answers = network.learner.log_beliefs(test.inputs.float())[-1].argmax(-1)  # [N, T]
    inside = test.weight.bool()  # type: ignore[union-attr]
    assert answers.shape == test.target.shape
    accuracy = (answers == test.target)[inside].double().mean().item()
    found = evaluation(run)["best"]["test"]
    assert (found["n"], found["accuracy"][-1]) == (int(inside.sum()), pytest.approx(accuracy))
    assert accuracy > 0.8


def test_what_is_masked_counts_nowhere(run: Path, recipe: Path, tmp_path: Path) -> None:
    assert main(["train", str(recipe), "--set", "data.padding=1", "--out", str(tmp_path / "other"), "--quiet"]) == 0
    assert what_was_learnt(tmp_path / "other") == what_was_learnt(run)


def test_an_interrupted_run_resumes_to_the_same_bytes(
    run: Path, recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command, steps = ["train", str(recipe), "--out", str(tmp_path / "again"), "--quiet"], iter(range(100))

    def interrupted(self: Parity, *arguments: Any) -> Any:
        if next(steps) == 20:
            signal.raise_signal(signal.SIGINT)
        return Task.training_batch(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(Parity, "training_batch", interrupted)
        assert main(command) == 130
    assert main([*command, "--resume"]) == 0
    assert what_was_learnt(tmp_path / "again") == what_was_learnt(run)


@pytest.mark.parametrize("verb", ["evaluate", "certify", "report"])
def test_the_same_commands_read_the_run(verb: str, run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([verb, str(run)]) == 0
    assert "nan" not in capsys.readouterr().out


def test_unknown_settings_are_refused_with_the_nearest_right_one(recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", str(recipe), "--set", "data.lenght=3"]) == 2
    assert "unknown key 'data.lenght' (did you mean 'data.length'?)" in capsys.readouterr().err
