import pytest
import torch

from torchsid import LocalObjective
from torchsid.errors import TargetError
from torchsid.study.certify.samples import SampleNumbers, measure


def test_batches_joined_are_one_batch() -> None:
    log_beliefs, labels = torch.randn(4, 7, 3).log_softmax(-1), torch.randint(3, (7,))
    objective = LocalObjective(alpha="linear:1.0:0.2")
    parts = [measure(log_beliefs[:, part], labels[part], objective) for part in (slice(0, 3), slice(3, 7))]
    joined, whole = SampleNumbers.joined(parts), measure(log_beliefs, labels, objective)
    assert joined.to_target.shape == (4, 7)
    assert joined.loss.shape == (3, 7)
    for name, value in vars(whole).items():
        torch.testing.assert_close(getattr(joined, name), value, atol=1e-12, rtol=1e-12)


def test_float32_beliefs_that_do_not_change_hold_everywhere() -> None:
    belief = (30 * torch.randn(50, 10)).log_softmax(-1)
    nearly = (belief + 1e-6 * torch.rand(50, 1)).log_softmax(-1)
    numbers = measure(torch.stack([belief, nearly, belief]), torch.randint(10, (50,)), LocalObjective(label_smoothing=0.1))
    assert numbers.premise.all()
    assert numbers.conclusion.all()
    assert numbers.descends.all()


def test_a_step_towards_the_label_and_one_away_from_it() -> None:
    p = torch.tensor([[0.5, 0.5], [0.6, 0.4], [0.3, 0.7]]).log().unsqueeze(1)
    numbers = measure(p, torch.tensor([0]), LocalObjective(alpha=0.5))
    assert numbers.descends.flatten().tolist() == [True, False]
    assert numbers.premise.flatten().tolist() == [True, False]
    assert numbers.conclusion.flatten().tolist() == [True, False]


def test_targets_are_smoothed_as_the_objective_says() -> None:
    log_beliefs, labels = torch.randn(2, 5, 4).log_softmax(-1), torch.randint(4, (5,))
    smoothed = 0.8 * torch.nn.functional.one_hot(labels, 4).double() + 0.05
    by_label = measure(log_beliefs, labels, LocalObjective(direction="reverse", label_smoothing=0.2))
    by_row = measure(log_beliefs, smoothed, LocalObjective(direction="reverse"))
    torch.testing.assert_close(by_label.to_target, by_row.to_target)
    with pytest.raises(TargetError, match="label_smoothing"):
        measure(log_beliefs, labels, LocalObjective(direction="reverse"))
