"""A domain that is not images, written here: it goes through the same commands, with a belief at every position of a sample."""

from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from torchsid.cli.main import main
from torchsid.errors import ConfigError, DataError
from torchsid.settings import Count
from torchsid.tasks import About, Samples, Splits, Task
from torchsid.tasks.domain import generator_at
from torchsid.training import RunDirectory, load_network, resolve, train


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


SETTINGS = [
    f"task={__name__}:Parity",
    f"model.extractor={__name__}:Reader",
    *("model.depth=2", "model.hidden=16", "optimizer.learning_rate=2e-2", "watch.conflict=false", "watch.certify=true"),
    *("training.epochs=8", "training.batch_size=50", "training.threads=1", "training.device=cpu"),
]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    return RunDirectory(train(resolve("digits", SETTINGS), tmp_path_factory.mktemp("parity") / "run"))


KEYS = ("train_loss", "train_stage_losses", "train_accuracy", "validation", "descent")


def what_was_learnt(run: RunDirectory) -> list[object]:
    """The weights to the byte, and every number that does not depend on the clock."""
    weights = [path.read_bytes() for path in sorted(run.checkpoint("last").glob("*.safetensors"))]
    numbers = [record[key] for record in run.metrics() if record["event"] == "epoch" for key in KEYS]
    return [*weights, numbers, run.evaluation()]


def test_it_learns_at_every_position(run: RunDirectory) -> None:
    network, test = load_network(run), Parity().load(0).test
    answers = network.learner.log_beliefs(test.inputs.float())[-1].argmax(-1)  # [N, T]
    inside = test.weight.bool()  # type: ignore[union-attr]
    assert answers.shape == test.target.shape
    accuracy = (answers == test.target)[inside].double().mean().item()
    found = run.evaluation()["best"]["test"]
    assert (found["n"], found["accuracy"][-1]) == (int(inside.sum()), pytest.approx(accuracy))
    assert accuracy > 0.8


def test_what_is_masked_counts_nowhere(run: RunDirectory, tmp_path: Path) -> None:
    other = train(resolve("digits", [*SETTINGS, "data.padding=1"]), tmp_path / "other")
    assert what_was_learnt(RunDirectory(other)) == what_was_learnt(run)


@pytest.mark.parametrize("verb", ["evaluate", "certify", "report"])
def test_the_same_commands_read_the_run(verb: str, run: RunDirectory, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([verb, str(run.path)]) == 0
    assert "nan" not in capsys.readouterr().out


def test_unknown_settings_are_refused_with_the_nearest_right_one() -> None:
    with pytest.raises(ConfigError, match=r"unknown key 'data.lenght' \(did you mean 'data.length'\?\)"):
        resolve("digits", [*SETTINGS, "data.lenght=3"])


SAMPLES = Samples(
    torch.arange(12).view(3, 4), torch.tensor([0, 1, 0]), torch.ones(3), rows=torch.tensor([5, 7, 9]), names=("a", "b", "c")
)


def test_taken_samples_keep_what_is_known_of_them() -> None:
    taken = SAMPLES.take(torch.tensor([2, 0]))
    assert (len(SAMPLES), len(taken)) == (3, 2)
    assert torch.equal(taken.inputs, SAMPLES.inputs[[2, 0]])
    assert (taken.target.tolist(), taken.rows.tolist(), taken.clean_target) == ([0, 0], [9, 5], None)  # type: ignore[union-attr]
    assert (taken.names, SAMPLES.take(slice(1, 9)).names) == (("c", "a"), ("b", "c"))


def test_what_a_domain_need_not_say() -> None:
    """A batch is the samples as they are, a sample is shown by its numbers, and nothing is read from outside."""
    x, target, weight = Parity().training_batch(SAMPLES, {}, Parity().draw(3, {}, torch.Generator()))
    assert torch.equal(x, SAMPLES.inputs[:])
    assert torch.equal(target, SAMPLES.target[:])
    assert weight is SAMPLES.weight
    assert "[4, 5, 6, 7]" in Parity().show(SAMPLES.inputs[1], {})
    with pytest.raises(DataError, match=r"Parity cannot read 'a\.png'"):
        Parity().read("a.png", {})


def test_random_numbers_follow_from_the_position_alone_and_neighbours_share_nothing() -> None:
    positions = [(0, 0, 1), (0, 1, 0), (1, 0, 0), (0, 0, 2), (1, 11, 1), (11, 1, 1)]  # nor do those whose digits read alike
    before = torch.get_rng_state()
    draws, again = (torch.stack([torch.rand(1000, generator=generator_at("step", *each)) for each in positions]) for _ in "ab")
    assert torch.equal(draws, again)
    assert torch.equal(before, torch.get_rng_state())
    assert (torch.corrcoef(draws) - torch.eye(6)).abs().max() < 0.12  # 4 standard deviations of 1/√1000
    assert torch.randperm(8, generator=generator_at("order", 0, 0)).tolist() == [3, 1, 6, 0, 4, 5, 7, 2]  # as in earlier versions
