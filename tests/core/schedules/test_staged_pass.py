"""A staged cascade's step gives the gradients of the formula, written out by hand."""

import pytest
import torch
from tests.core.schedules.reference import smoothed
from tests.cut.classifiers import (
    BATCH,
    CASES,
    CLASSES,
    classifier,
    cut,
    images,
    local_losses,
    randomised,
    twin,
    windowed_losses,
)
from tests.networks import assert_same_gradients, gradients
from torch import Tensor, nn

from torchsid import SID, StagedCascade, staged_cascade
from torchsid.core.kept_bytes import kept_bytes
from torchsid.core.staged import OwnHead

WAYS = ("boundary", "graph")
SETTINGS = {
    "forward": {},
    "forward, a sequence of alphas": {"alpha": [1.0, 0.3, 0.0], "label_smoothing": 0.05},
    "reverse, smoothed": {"direction": "reverse", "label_smoothing": 0.1, "alpha": "linear:0.9:0.2"},
}
every_way = pytest.mark.parametrize("by", WAYS)


def assert_runs_as_written(learner: SID, name: str, *, weights: list[float] | None = None, detach: bool = True) -> None:
    """Compare gradients, losses, beliefs and running statistics with the plain loop, from the same seed."""
    x, target = images(name)
    expected, pieces = twin(learner.module, name)
    objective = learner.objective
    torch.manual_seed(7)
    losses, beliefs = local_losses(
        expected,
        pieces,
        x,
        smoothed(target, CLASSES, objective.label_smoothing, torch.float64),
        alphas=objective.alphas(3),
        direction=objective.direction,
        temperature=objective.temperature,
        weights=weights,
        detach=detach,
    )
    torch.manual_seed(7)
    output = learner.backward(x, target, scale=1.0 if weights is None else torch.tensor(weights, dtype=torch.float64))
    assert_same_gradients(learner.module, gradients(expected), 1e-10)
    torch.testing.assert_close(output.stage_losses, losses, atol=1e-10, rtol=1e-10)
    torch.testing.assert_close(output.log_belief.exp(), beliefs[-1], atol=1e-10, rtol=1e-10)
    torch.testing.assert_close(learner.module.state_dict(), expected.state_dict())


@pytest.mark.parametrize(
    ("setting", "training"),
    [("forward", True), ("forward, a sequence of alphas", False), ("reverse, smoothed", True)],
    ids=["forward, train", "alphas, eval", "reverse, train"],
)
@every_way
@pytest.mark.parametrize("name", [name for name in CASES if name != "vit-tiny"])
def test_gradients_are_those_of_the_formula(name: str, by: str, setting: str, training: bool) -> None:
    learner = SID(cut(name, by=by).train(training), **SETTINGS[setting])
    assert_runs_as_written(learner, name)
    assert all(parameter.grad is not None for parameter in learner.module.parameters())


@pytest.mark.parametrize(("window", "temperature"), [(1, 2.0), (1, 0.5), (3, 2.0)])
def test_teachers_of_another_temperature(window: int, temperature: float) -> None:
    assert_runs_as_written(SID(cut("mlp"), temperature=temperature, window=window), "mlp", detach=window == 1)


@every_way
def test_a_vision_transformer_of_the_registry(by: str) -> None:
    assert_runs_as_written(SID(cut("vit-tiny", by=by)), "vit-tiny")


@pytest.mark.parametrize("head", ["linear", "mlp", "attention", "conv", "trunk"])
@pytest.mark.parametrize(("residual", "by"), [(True, "graph"), (False, "boundary")], ids=["residual", "plain"])
def test_whatever_the_head(by: str, residual: bool, head: str) -> None:
    assert_runs_as_written(SID(cut("resnet-18", by=by, residual=residual, head=head)), "resnet-18")


@every_way
def test_the_models_own_head_may_read_beliefs(by: str) -> None:
    cascade = cut("mlp", by=by)
    cascade.heads[-1] = OwnHead(residual=True)
    assert_runs_as_written(SID(cascade), "mlp")


@every_way
def test_weights_multiply_the_stages_losses(by: str) -> None:
    assert_runs_as_written(SID(cut("resnet-18", by=by)), "resnet-18", weights=[0.25, 0.0, -2.0])


@every_way
def test_running_statistics_count_a_batch_once(by: str) -> None:
    cascade = cut("resnet-18", by=by)
    SID(cascade).backward(*images("resnet-18"))
    counts = [module.num_batches_tracked.item() for module in cascade.modules() if isinstance(module, nn.BatchNorm2d)]
    assert counts
    assert set(counts) == {1}


def test_both_ways_draw_the_same_masks() -> None:
    one, other = cut("vit with dropout", by="boundary"), cut("vit with dropout", by="graph")
    for cascade in (one, other):
        torch.manual_seed(3)
        SID(cascade).backward(*images("vit with dropout"))
    assert_same_gradients(one, gradients(other), 1e-12)
    torch.manual_seed(4)
    other.zero_grad()
    SID(other).backward(*images("vit with dropout"))
    assert not torch.allclose(one.model.cls_token.grad, other.model.cls_token.grad)  # the masks do count


@every_way
def test_gradients_are_added_to_what_is_there(by: str) -> None:
    cascade, batch = cut("mlp", by=by), images("mlp")
    learner = SID(cascade)
    learner.backward(*batch)
    once = gradients(cascade)
    learner.backward(*batch, scale=2.0)
    assert_same_gradients(cascade, {name: 3 * gradient for name, gradient in once.items()}, 1e-12)


def test_inputs_that_require_a_gradient_get_that_of_the_first_loss() -> None:
    cascade, (x, target) = cut("mlp"), images("mlp")
    x.requires_grad_()
    SID(cascade).backward(x, target, scale=torch.tensor([0.0, 1.0, 1.0]))
    assert x.grad is not None
    assert not x.grad.any()
    SID(cascade).backward(x, target)
    assert x.grad.any()


@pytest.mark.parametrize("window", [1, 2, 3])
def test_a_frozen_piece_of_the_trunk(window: int) -> None:
    cascade = cut("mlp")
    cascade.model.blocks[2:5].requires_grad_(False)
    output = SID(cascade, window=window).backward(*images("mlp"))
    assert output.log_belief.shape == (BATCH, CLASSES)
    assert all(parameter.grad is None for parameter in cascade.model.blocks[2:5].parameters())
    assert cascade.model.stem.weight.grad.any()
    assert cascade.model.head.weight.grad.any()


def test_everything_frozen() -> None:
    cascade = cut("mlp").requires_grad_(False)
    for window in (1, 2, 3):
        SID(cascade, window=window).backward(*images("mlp"))
    assert all(parameter.grad is None for parameter in cascade.parameters())


# Windows


@every_way
@pytest.mark.parametrize("name", [name for name in CASES if name != "vit-tiny"])
def test_the_full_window_is_deep_supervision(name: str, by: str) -> None:
    assert_runs_as_written(SID(cut(name, by=by), window=3), name, detach=False)


@every_way
def test_the_full_window_in_reverse_with_weights(by: str) -> None:
    learner = SID(cut("resnet-18", by=by), window=3, **SETTINGS["reverse, smoothed"])
    assert_runs_as_written(learner, "resnet-18", detach=False, weights=[2.0, 0.0, 0.5])


@every_way
@pytest.mark.parametrize("name", [name for name in CASES if "vit" not in name])
def test_a_window_of_two_is_that_of_fresh_passes(name: str, by: str) -> None:
    cascade, (x, target) = cut(name, by=by), images(name)
    expected, pieces = twin(cascade, name)
    windowed_losses(expected, pieces, x, smoothed(target, CLASSES, 0.0, x.dtype), window=2, alphas=[0.4, 0.6, 0.8])
    SID(cascade, window=2, alpha=[0.4, 0.6, 0.8]).backward(x, target)
    assert_same_gradients(cascade, gradients(expected), 1e-10)


def deep(by: str = "boundary") -> tuple[StagedCascade, list[nn.Module]]:
    """The residual MLP with a stage a block."""
    model, x = classifier("mlp"), images("mlp")[0]
    cuts = [f"blocks.{k}" for k in range(7)]
    cascade = staged_cascade(model, CLASSES, cuts, x, by=by, head="linear", max_head_share=100.0).double()
    first = nn.Sequential(model.flatten, model.stem, model.blocks[0])
    return randomised(cascade), [first, *model.blocks[1:7], nn.Sequential(model.blocks[7], model.norm, model.head)]


@every_way
@pytest.mark.parametrize("window", [1, 2, 3, 5, 7, 8])
def test_any_window_is_that_of_fresh_passes(window: int, by: str) -> None:
    (cascade, pieces), (x, target) = deep(by), images("mlp")
    windowed_losses(cascade, pieces, x, smoothed(target, CLASSES, 0.0, x.dtype), window=window, alphas=[0.5] * 8)
    expected = gradients(cascade)
    cascade.zero_grad()
    learner = SID(cascade, window=window)
    learner.backward(x, target)
    assert_same_gradients(cascade, expected, 1e-10)
    learner.backward(x, target)  # gradients accumulate
    assert_same_gradients(cascade, {name: 2 * gradient for name, gradient in expected.items()}, 1e-10)


@every_way
def test_memory_grows_with_the_window(by: str) -> None:
    cascade = deep(by)[0]

    def kept(window: int) -> int:
        return kept_bytes(cascade, lambda: SID(cascade, window=window).backward(*images("mlp")))

    sizes = [kept(window) for window in (1, 2, 4, 8)]
    assert sizes == sorted(set(sizes)), sizes


@every_way
def test_what_is_kept_does_not_grow_with_depth(by: str) -> None:
    class Deep(nn.Sequential):
        def __init__(self, depth: int) -> None:
            super().__init__(*(nn.Sequential(nn.Linear(8, 8), nn.Tanh()) for _ in range(depth)), nn.Linear(8, CLASSES))

    def kept(depth: int) -> int:
        x = torch.randn(BATCH, 8)
        cascade = staged_cascade(Deep(depth), CLASSES, depth, x, by=by, head="linear", max_head_share=100.0)
        return kept_bytes(cascade, lambda: SID(cascade).backward(x, torch.zeros(BATCH, dtype=torch.long)))

    assert kept(16) == kept(4)


def test_each_module_runs_once() -> None:
    cascade = cut("mlp")
    calls: list[nn.Module] = []
    for module in (*cascade.model.blocks, *cascade.heads):
        module.register_forward_hook(lambda module, *_: calls.append(module))
    SID(cascade).backward(*images("mlp"))
    blocks = list(cascade.model.blocks)
    heads = list(cascade.heads)
    assert calls == [*blocks[:2], heads[0], *blocks[2:5], heads[1], *blocks[5:], heads[2]]


class InPlace(nn.Sequential):
    """Every stage but the first writes to what the one before it hands on."""

    def __init__(self) -> None:
        layers = [nn.Linear(6, 8), nn.Tanh(), nn.LayerNorm(8)]
        for _ in range(3):
            layers += [nn.ReLU(inplace=True), nn.Linear(8, 8)]
        super().__init__(*layers, nn.Linear(8, CLASSES))


class Keeps(nn.Linear):
    """A head that keeps the features themselves for backward."""

    def forward(self, features: Tensor, log_belief: Tensor) -> Tensor:
        return super().forward(features) + log_belief


@every_way
@pytest.mark.parametrize("window", [1, 2, 3, 4])
def test_a_stage_that_writes_to_its_input_spoils_no_gradient(window: int, by: str) -> None:
    x, target = torch.randn(BATCH, 6, dtype=torch.float64), torch.arange(BATCH) % CLASSES
    found: list[dict[str, Tensor | None]] = []
    for inplace in (True, False):
        torch.manual_seed(0)
        model = InPlace().double()
        for layer in (model[3], model[5], model[7]):
            layer.inplace = inplace
        cascade = staged_cascade(
            model, CLASSES, ["2", "4", "6"], x, by=by, head=lambda features, _: Keeps(features.shape[1], CLASSES)
        )
        SID(cascade, window=window).backward(x, target)
        found.append(gradients(cascade))
    torch.testing.assert_close(found[0], found[1])
