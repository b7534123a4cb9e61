from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.cut.classifiers import cut
from tests.networks import (
    CLASSES,
    INPUTS,
    assert_same_gradients,
    gradients,
    normed_cascade,
    rows,
    small_batch,
    small_cascade,
    staged_cascade,
)
from torchsid import SID, Backprop, SharedCascade
from torchsid.learners.deep_supervision import DeepSupervision

NETWORKS: dict[str, Callable[[], SharedCascade]] = {
    "plain": small_cascade,
    "residual": lambda: small_cascade(stage="residual"),
    "own head": normed_cascade,
    "stages that make features": staged_cascade,
}


def deeply_supervised(cascade: SharedCascade, x: Tensor, p_y: Tensor, *, smoothing: float, weights: Tensor) -> Tensor:
    """Fill `.grad` by autograd alone, the whole chain attached; return the divergence of every stage, `[L]`."""
    features, p = cascade.extractor(x), torch.full((len(x), CLASSES), 1 / CLASSES, dtype=x.dtype)
    p_y = (1 - smoothing) * p_y + smoothing / CLASSES
    losses = []
    for stage in cascade.stages:
        features, logits = stage(features, p.log())
        p = logits.softmax(-1)
        losses.append(F.kl_div(p.log(), p_y, reduction="batchmean"))
    (weights * torch.stack(losses)).mean().backward()
    return torch.stack(losses).detach()


@pytest.mark.parametrize("weights", [None, [0.0, 2.0, 1.0, -0.5]], ids=["even", "weighed"])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("target", ["classes", "rows"])
@pytest.mark.parametrize("network", NETWORKS)
def test_losses_and_gradients_are_autograds(network: str, target: str, smoothing: float, weights: list[float] | None) -> None:
    cascade, expected = NETWORKS[network](), NETWORKS[network]()
    expected.load_state_dict(cascade.state_dict())
    x, classes = small_batch()
    p_y = F.one_hot(classes, CLASSES).double() if target == "classes" else rows()
    weight = torch.ones(4, dtype=torch.float64) if weights is None else torch.tensor(weights, dtype=torch.float64)
    losses = deeply_supervised(expected, x, p_y, smoothing=smoothing, weights=weight)
    learner = DeepSupervision(cascade, label_smoothing=smoothing)
    out = learner.backward(x, classes if target == "classes" else p_y, scale=1.0 if weights is None else weight)
    assert_same_gradients(cascade, gradients(expected), 1e-12)
    torch.testing.assert_close(out.stage_losses, losses, atol=1e-12, rtol=1e-12)


def test_a_late_loss_reaches_the_first_stage_by_the_beliefs_alone() -> None:
    cascade, batch = small_cascade(4), small_batch()
    last_alone = torch.tensor([0.0, 0.0, 0.0, 1.0], dtype=torch.float64)
    DeepSupervision(cascade).backward(*batch, scale=last_alone)
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in cascade.stages[0].parameters())
    cascade.zero_grad()
    SID(cascade, alpha=1.0).backward(*batch, scale=last_alone)
    assert not any(parameter.grad is not None and parameter.grad.any() for parameter in cascade.stages[0].parameters())


def test_with_one_stage_it_is_backpropagation() -> None:
    cascade, batch = small_cascade(1), small_batch()
    once = Backprop(cascade).backward(*batch)
    expected = gradients(cascade)
    cascade.zero_grad()
    assert torch.equal(DeepSupervision(cascade).backward(*batch).loss, once.loss)
    assert_same_gradients(cascade, expected, 0)


@pytest.mark.parametrize("module", [nn.Linear(INPUTS, CLASSES), cut("mlp")], ids=["plain", "staged"])
def test_what_is_no_cascade_is_refused(module: nn.Module) -> None:
    with pytest.raises(ValueError, match=rf"not a {type(module).__name__}: .*SID\(cascade, window=cascade\.depth\)"):
        DeepSupervision(module)


def test_a_weight_that_fits_no_stage_is_refused() -> None:
    with pytest.raises(ValueError, match=r"scale has shape \[3\]: give one number, or one a loss, \[4\]"):
        DeepSupervision(small_cascade(4)).backward(*small_batch(), scale=torch.ones(3))
