"""A step of a staged cascade gives the gradients of the formula, written out by hand; and what any step keeps for them."""

from collections.abc import Callable
from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn

from tests.core.reference import smoothed, staged_losses, windowed_losses
from tests.cut.classifiers import BATCH, CASES, CLASSES, classifier, cut, images, randomised, twin
from tests.networks import ReadsBeliefs, assert_same_gradients, gradients, small_batch, small_cascade
from tests.networks import staged_cascade as cut_by_hand
from torchsid import SID, Backprop, SharedCascade, StagedCascade, StepOutput, staged_cascade
from torchsid.core.peak_memory import kept_bytes

SETTINGS: dict[str, dict[str, object]] = {
    "forward": {},
    "forward, a sequence of alphas": {"alpha": [1.0, 0.3, 0.0], "label_smoothing": 0.05, "temperature": 2.0},
    "reverse, smoothed": {"direction": "reverse", "label_smoothing": 0.1, "alpha": "linear:0.9:0.2"},
}
every_way = pytest.mark.parametrize("by", ["boundary", "graph"])


def assert_runs_as_written(learner: SID, name: str, *, scales: list[float] | None = None) -> None:
    """Compare gradients, losses, beliefs and running statistics with the plain loop, from the same seed."""
    (x, target), cascade, objective = images(name), learner.module, learner.objective
    assert isinstance(cascade, StagedCascade)
    expected, pieces = twin(cascade, name)
    torch.manual_seed(7)
    losses, beliefs = staged_losses(
        pieces,
        list(expected.heads),
        x,
        smoothed(target, CLASSES, objective.label_smoothing),
        alphas=objective.alphas(3),
        direction=objective.direction,
        temperature=objective.temperature,
        scales=scales,
        detach=learner.window == 1,
    )
    torch.manual_seed(7)
    told: list[Tensor] = []
    scale = 1.0 if scales is None else torch.tensor(scales)
    output = learner.backward(x, target, scale=scale, on_belief=lambda _, log_belief: told.append(log_belief))
    assert_same_gradients(cascade, gradients(expected), 1e-10)
    torch.testing.assert_close(output.stage_losses, losses, atol=1e-10, rtol=1e-10)
    torch.testing.assert_close(torch.stack(told).exp(), beliefs[1:], atol=1e-10, rtol=1e-10)
    torch.testing.assert_close(cascade.state_dict(), expected.state_dict())


@pytest.mark.parametrize("window", [1, 3], ids=["local", "end to end"])
@every_way
@pytest.mark.parametrize("name", CASES)
def test_gradients_are_those_of_the_formula(name: str, by: str, window: int) -> None:
    learner = SID(cut(name, by=by), window=window)
    assert_runs_as_written(learner, name)
    assert all(parameter.grad is not None for parameter in learner.module.parameters())


@pytest.mark.filterwarnings("ignore:.*in evaluation mode")
@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("window", [1, 3], ids=["local", "end to end"])
def test_whatever_the_settings(window: int, setting: str) -> None:
    learner = SID(cut("resnet-18").eval(), window=window, **SETTINGS[setting])  # type: ignore[arg-type]
    assert_runs_as_written(learner, "resnet-18", scales=[0.25, 0.0, -2.0])


@pytest.mark.parametrize(
    ("head", "residual", "by"), [("linear", True, "boundary"), ("attention", False, "graph"), ("trunk", True, "graph")]
)
def test_whatever_the_head(by: str, residual: bool, head: str) -> None:
    assert_runs_as_written(SID(cut("resnet-18", by=by, residual=residual, head=head)), "resnet-18")


@every_way
def test_the_models_own_head_may_read_beliefs(by: str) -> None:
    cascade = cut("mlp", by=by)
    cascade.heads[-1] = ReadsBeliefs()
    assert_runs_as_written(SID(cascade), "mlp")


@pytest.mark.parametrize("frozen", [1, 2, 3])
def test_a_frozen_piece_of_the_trunk(frozen: int) -> None:
    """Its head learns, and so does what lies before and behind it."""
    cascade = cut("mlp")
    for name in cascade.owned[frozen - 1]:
        cascade.model.get_parameter(name).requires_grad_(False)
    if frozen == 3:  # nothing is left of that stage
        cascade.heads[2].requires_grad_(False)
    what = "nothing of its own" if frozen == 3 else "its head alone"
    for window in (1, 2, 3):
        cascade.zero_grad()
        with pytest.warns(UserWarning, match=f"^stage {frozen} trains {what}: the rest is frozen"):
            SID(cascade, window=window).backward(*images("mlp"))
        assert all((parameter.grad is not None) == parameter.requires_grad for parameter in cascade.parameters())


def test_inputs_that_require_a_gradient_get_that_of_the_first_loss() -> None:
    cascade, (x, target) = cut("mlp"), images("mlp")
    x.requires_grad_()
    SID(cascade).backward(x, target, scale=torch.tensor([0.0, 1.0, 1.0]))
    assert x.grad is not None
    assert not x.grad.any()
    SID(cascade).backward(x, target)
    assert x.grad.any()


# Positions


class Tagger(nn.Module):
    """Tokens `[B, T, 6]` to logits `[B, T, C]`; or with `slots` to `[B, slots, C]` from their mean."""

    def __init__(self, slots: int = 0) -> None:
        super().__init__()
        self.slots = slots
        self.a, self.b = nn.Sequential(nn.Linear(6, 8), nn.Tanh()), nn.Sequential(nn.Linear(8, 8), nn.Tanh())
        self.c = nn.Linear(8, CLASSES * max(slots, 1))

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.c(self.pooled(self.b(self.a(x))))
        return logits.unflatten(-1, (self.slots, CLASSES)) if self.slots else logits

    def pooled(self, tokens: Tensor) -> Tensor:
        return tokens.mean(1) if self.slots else tokens


@every_way
@pytest.mark.parametrize("head", ["auto", "mlp"])
@pytest.mark.parametrize("slots", [0, 2], ids=["tokens", "slots"])
def test_beliefs_at_the_positions_of_the_models_logits(slots: int, head: str, by: str) -> None:
    torch.manual_seed(0)
    model, x = Tagger(slots).double(), torch.randn(BATCH, 3, 6, dtype=torch.float64)
    cascade = staged_cascade(model, CLASSES, ["a", "b"], x, by=by, head=head, max_head_share=99.0).double()
    where = (BATCH, slots) if slots else (BATCH, 3)
    assert cascade.log_beliefs(x).shape == (4, *where, CLASSES)
    target, weight = torch.randint(CLASSES, where), torch.rand(where, dtype=torch.float64).round()
    weight[0, 0], weight[0, 1], target[0, 1] = 1.0, 0.0, -100
    pieces = [model.a, model.b, lambda h: model.c(model.pooled(h)).view(*where, CLASSES)]
    losses, _ = staged_losses(
        pieces, list(cascade.heads), x, smoothed(target, CLASSES), alphas=[0.5, 0.5, 1.0], weight=weight, temperature=0.5
    )
    expected = gradients(cascade)
    cascade.zero_grad()
    output = SID(cascade, temperature=0.5, alpha="step:0.5:1").backward(x, target, weight=weight)
    assert_same_gradients(cascade, expected, 1e-10)
    torch.testing.assert_close(output.stage_losses, losses)


# Windows


def deep(by: str = "boundary") -> tuple[StagedCascade, list[nn.Module]]:
    """The residual MLP with a stage a block."""
    model, x = classifier("mlp"), images("mlp")[0]
    cuts = [f"blocks.{k}" for k in range(7)]
    cascade = staged_cascade(model, CLASSES, cuts, x, by=by, head="linear", max_head_share=100.0).double()
    first = nn.Sequential(model.flatten, model.stem, model.blocks[0])
    return randomised(cascade), [first, *model.blocks[1:7], nn.Sequential(model.blocks[7], model.norm, model.head)]


@every_way
@pytest.mark.parametrize("window", [1, 2, 5, 7, 8])
def test_any_window_is_that_of_fresh_passes(window: int, by: str) -> None:
    (cascade, pieces), (x, target) = deep(by), images("mlp")
    alphas = [0.1 * (i + 1) for i in range(8)]
    windowed_losses(pieces, list(cascade.heads), x, smoothed(target, CLASSES), window=window, alphas=alphas)
    expected = gradients(cascade)
    cascade.zero_grad()
    learner = SID(cascade, window=window, alpha=alphas)
    learner.backward(x, target)
    assert_same_gradients(cascade, expected, 1e-10)
    learner.backward(x, target)  # gradients accumulate
    assert_same_gradients(cascade, {name: 2 * gradient for name, gradient in expected.items()}, 1e-10)


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
@pytest.mark.parametrize("window", [1, 2, 4])
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


# What is kept


@pytest.mark.parametrize("make", [small_cascade, cut_by_hand], ids=["shared", "cut by hand"])
def test_kept_bytes_grow_with_depth_in_backpropagation_alone(make: Callable[[int], SharedCascade]) -> None:
    def growth(backward: Callable[[SharedCascade], StepOutput]) -> float:
        shallow, deep = (kept_bytes(cascade, lambda c=cascade: backward(c)) for cascade in (make(4), make(32)))  # type: ignore[misc]
        return deep / shallow

    assert growth(lambda cascade: SID(cascade).backward(*small_batch())) == pytest.approx(1, rel=0.05)
    assert growth(lambda cascade: SID(cascade, schedule="two_phase").backward(*small_batch())) == pytest.approx(1, rel=0.05)
    assert growth(lambda cascade: Backprop(cascade).backward(*small_batch())) > 4


@every_way
def test_kept_bytes_grow_with_the_window_and_not_with_depth(by: str) -> None:
    cascade = deep(by)[0]
    sizes = [kept_bytes(cascade, lambda w=w: SID(cascade, window=w).backward(*images("mlp"))) for w in (1, 2, 4, 8)]  # type: ignore[misc]
    assert all(less < more for less, more in pairwise(sizes))

    def kept(depth: int) -> int:
        x = torch.randn(BATCH, 8)
        model = nn.Sequential(*(nn.Sequential(nn.Linear(8, 8), nn.Tanh()) for _ in range(depth)), nn.Linear(8, CLASSES))
        deeper = staged_cascade(model, CLASSES, depth, x, by=by, head="linear", max_head_share=100.0)
        return kept_bytes(deeper, lambda: SID(deeper).backward(x, torch.zeros(BATCH, dtype=torch.long)))

    assert kept(16) == kept(4)


def test_each_module_runs_once() -> None:
    cascade = cut("mlp")
    calls: list[nn.Module] = []
    for module in (*cascade.model.blocks, *cascade.heads):
        module.register_forward_hook(lambda module, *_: calls.append(module))
    SID(cascade).backward(*images("mlp"))
    blocks, heads = list(cascade.model.blocks), list(cascade.heads)
    assert calls == [*blocks[:2], heads[0], *blocks[2:5], heads[1], *blocks[5:], heads[2]]
