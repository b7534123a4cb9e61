import copy

import pytest
import torch
from torch import Tensor, nn

from tests.heads.samples import CHANNELS, CLASSES, SHAPES, block, features, later, log_belief
from tests.networks import assert_untouched, snapshot
from torchsid import heads
from torchsid.errors import HeadError
from torchsid.heads import BeliefHead
from torchsid.heads.trunk import TrunkBody

EXAMPLE = torch.zeros(1, CHANNELS, 12, 12)


class Constant(nn.Module):
    """A layer that sets its child's weights itself, as many networks do."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(CHANNELS, 3)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        nn.init.constant_(self.linear.weight, 0.25)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.linear(x)
        return out


class InPlace(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.add_(1)[:, :4]


class Pair(nn.Module):
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x, x


def trained(form: str) -> nn.Sequential:
    """Later layers whose parameters and statistics are far from any initialisation."""
    modules = later(form)
    with torch.no_grad():
        for tensor in (*modules.parameters(), *modules.buffers()):
            tensor.fill_(7)
    return modules


def test_layers_that_keep_the_shape_are_left_out() -> None:
    body = TrunkBody(EXAMPLE, later=later("maps"))
    assert [layer[1].weight.shape[:2] for layer in body.layers] == [(10, 8), (14, 10)]
    assert body.width == 14


def test_the_first_with_parameters_is_taken_when_all_keep_the_shape() -> None:
    body = TrunkBody(torch.zeros(1, 5, CHANNELS), later=later("tokens"))
    assert [type(layer) for layer in body.layers] == [nn.TransformerEncoderLayer]
    assert body.layers[0].dropout.p == 0.1  # the first of two


def test_the_layers_run_in_order_and_are_pooled() -> None:
    body = TrunkBody(EXAMPLE, later=later("maps")).eval()
    expected = body.layers[1](body.layers[0](features("maps"))).mean((2, 3))
    torch.testing.assert_close(body(features("maps")), expected)


@pytest.mark.parametrize("form", SHAPES)
def test_copies_start_afresh(form: str) -> None:
    body = TrunkBody(features(form)[:1], later=trained(form))
    assert not any((tensor == 7).any() for tensor in (*body.parameters(), *body.buffers()))
    fresh = later(form)
    scale = {tuple(p.shape): p.std() for p in fresh.parameters() if p.dim() > 1}
    for parameter in body.parameters():
        if parameter.dim() > 1:
            assert 0.5 < parameter.std() / scale[tuple(parameter.shape)] < 2


def test_a_parent_has_the_last_word_on_the_start() -> None:
    body = TrunkBody(torch.zeros(1, CHANNELS), later=[Constant()])
    assert (body.layers[0].linear.weight == 0.25).all()


@pytest.mark.parametrize("form", SHAPES)
def test_the_originals_are_untouched(form: str) -> None:
    modules = trained(form).requires_grad_(False)
    inplace = [getattr(module, "inplace", None) for module in modules.modules()]
    before = snapshot(modules)
    torch.manual_seed(0)
    head = heads.create("trunk", features(form), CLASSES, later=modules)
    head(features(form), log_belief()).sum().backward()
    torch.set_rng_state(before.random)  # an initialisation draws from it
    assert_untouched(modules, before)
    assert inplace == [getattr(module, "inplace", None) for module in modules.modules()]
    owned = {tensor.data_ptr() for tensor in (*modules.parameters(), *modules.buffers())}
    assert not owned & {tensor.data_ptr() for tensor in (*head.parameters(), *head.buffers())}


def test_copies_of_frozen_and_cast_layers_learn_in_the_default_precision() -> None:
    body = TrunkBody(EXAMPLE, later=later("maps").double().requires_grad_(False))
    assert all(parameter.requires_grad and parameter.dtype == torch.float32 for parameter in body.parameters())


def test_a_pooling_that_leaves_too_few_pixels_is_skipped() -> None:
    """A 5x5 kernel reads 12x12 and 6x6 pixels, not 3x3."""
    modules = [nn.Conv2d(CHANNELS, 2, 5)]
    linear = (2 + CLASSES) * CLASSES
    head = heads.create("trunk", features("maps"), CLASSES, later=modules, budget=4 * 25 * 8 * 2 + linear)
    assert isinstance(head, BeliefHead)
    assert head.factor == 2
    with pytest.raises(HeadError, match=r"1,624 multiply-adds a sample with maps read 2 times smaller, over the budget of 1,623"):
        heads.create("trunk", features("maps"), CLASSES, later=modules, budget=4 * 25 * 8 * 2 + linear - 1)


def test_layers_that_cannot_follow() -> None:
    modules = [block(CHANNELS, 10, 2), nn.Linear(5, 3)]
    with pytest.raises(
        HeadError, match=r"maps \[B, 8, 12, 12\]: the later module Linear cannot read maps \[B, 10, 6, 6\] \(mat1 "
    ) as caught:
        heads.create("trunk", features("maps"), CLASSES, later=modules)
    assert isinstance(caught.value.__cause__, RuntimeError)


@pytest.mark.parametrize(
    ("modules", "problem"),
    [
        ([], "later holds no module to copy: give the trunk's modules"),
        ([nn.ReLU(), nn.Dropout()], "later holds no module to copy"),  # none that has parameters
        ([Pair()], "it returns tuple where one tensor"),
        ([nn.Unflatten(1, (2, 4))], "it returns features of rank 5"),
        ([InPlace(), nn.Conv2d(4, 2, 1)], "InPlace changes its input in place, and the next stage reads the same features: make"),
    ],
)
def test_layers_that_will_not_do(modules: list[nn.Module], problem: str) -> None:
    with pytest.raises(HeadError, match=rf"a head of the trunk's modules on maps \[B, 8, 12, 12\]: .*{problem}.*another head"):
        heads.create("trunk", features("maps"), CLASSES, later=modules)


def test_trained_originals_do_not_matter() -> None:
    heads_made = []
    for modules in (later("maps"), copy.deepcopy(trained("maps"))):
        torch.manual_seed(2)
        heads_made.append(heads.create("trunk", features("maps"), CLASSES, later=modules).state_dict())
    torch.testing.assert_close(heads_made[0], heads_made[1], rtol=0, atol=0)
