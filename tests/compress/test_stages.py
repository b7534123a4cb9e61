"""Networks quantised stage by stage: on their grids, no worse than rounding, and each stage fitted by itself."""

from collections.abc import Callable
from copy import deepcopy

import pytest
import torch
from torch import Tensor, nn

import torchsid
from torchsid.compress.stages import METHODS, Refit, compress, read_by
from torchsid.core.beliefs import kl
from torchsid.core.cascade import Cascade


def staged() -> Cascade:
    torch.manual_seed(0)
    blocks = [nn.Sequential(nn.Conv2d(channels, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU()) for channels in (2, 6, 6)]
    model = nn.Sequential(*blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 4))
    cascade = torchsid.staged_cascade(model, 4, ["0", "1"], torch.randn(2, 2, 6, 6), max_head_share=5.0)
    return _trained(cascade, images())


def shared() -> Cascade:
    torch.manual_seed(0)
    extractor = nn.Sequential(nn.Flatten(), nn.Linear(72, 12), nn.ReLU())
    return _trained(torchsid.shared_cascade(extractor, num_classes=4, depth=3, example=torch.randn(2, 2, 6, 6), hidden=8), images())


def images() -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(32, 2, 6, 6, generator=generator) for _ in range(3)]


def _trained(cascade: Cascade, batches: list[Tensor]) -> Cascade:
    learner, optimizer = torchsid.SID(cascade), torch.optim.Adam(cascade.parameters(), lr=0.01)
    for _ in range(20):
        for x in batches:
            optimizer.zero_grad()
            learner.backward(x, (x.mean((1, 2, 3)) * 20).round().long() % 4)
            optimizer.step()
    return cascade.eval()


def distance(cascade: Cascade, teacher: Cascade) -> list[float]:
    """The mean KL of each stage's belief from what the teacher's believes."""
    with torch.no_grad():
        pairs = [(teacher.log_beliefs(x)[1:], cascade.log_beliefs(x)[1:]) for x in images()]
    return torch.stack([kl(full, own).mean(1) for full, own in pairs]).mean(0).tolist()


@pytest.mark.parametrize("make", [staged, shared])
@pytest.mark.parametrize("method", METHODS)
def test_every_matrix_is_on_its_grid_and_all_else_is_there(make: Callable[[], Cascade], method: str) -> None:
    full = make()
    cascade = deepcopy(full)
    codes = compress(cascade, images(), 3, method, refit=Refit(passes=2))
    matrices = {name for name, parameter in cascade.named_parameters() if parameter.dim() > 1}
    assert codes.keys() == matrices
    for name, each in codes.items():
        weight = cascade.get_parameter(name)
        assert torch.equal(weight.detach(), each.values().view_as(weight))
        assert all(len(row.unique()) <= 8 for row in weight.detach().flatten(1))
    fitted = {
        name
        for name, tensor in cascade.state_dict().items()
        if name not in codes and not torch.equal(tensor, full.state_dict()[name])
    }
    assert bool(fitted) == method.endswith("refit")
    assert all(parameter.requires_grad and parameter.grad is None for parameter in cascade.parameters())
    assert not any(name.startswith(("heads.0", "model.0")) for name in fitted)  # nothing before the first stage was quantised


@pytest.mark.parametrize("make", [staged, shared])
def test_descending_beats_rounding_and_fitting_beats_both(make: Callable[[], Cascade]) -> None:
    full = make()
    found = {}
    for method in ("nearest", "comq", "comq-refit"):
        cascade = deepcopy(full)
        compress(cascade, images(), 2, method, refit=Refit(passes=20, learning_rate=1e-3))
        found[method] = distance(cascade, full)[-1]
    assert found["comq-refit"] < found["comq"] < found["nearest"]


def test_what_is_read_may_be_known() -> None:
    full = staged()
    one, other = deepcopy(full), deepcopy(full)
    known = read_by(one, images())
    first, second = compress(one, images(), 4), compress(other, [], 4, read=known)
    assert all(torch.equal(first[name].codes, second[name].codes) for name in first)


def test_eight_bits_hardly_change_a_belief() -> None:
    full = shared()
    cascade = deepcopy(full)
    compress(cascade, images(), 8, "comq")
    assert max(distance(cascade, full)) < 1e-3


def test_a_network_without_stages_is_quantised_but_not_fitted() -> None:
    network = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    assert compress(network, [torch.randn(8, 3)], 4).keys() == {"0.weight", "2.weight"}
    with pytest.raises(ValueError, match="no stages with heads"):
        compress(network, [torch.randn(8, 3)], 4, "comq-refit")


def test_all_that_is_wrong_is_said_at_once() -> None:
    with pytest.raises(ValueError, match="bits 9: allowed is 2 to 8") as error:
        compress(nn.BatchNorm1d(3), [], 9, "comqq")
    assert "did you mean 'comq'" in str(error.value)
    assert "nothing to quantise" in str(error.value)
