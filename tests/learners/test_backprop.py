import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from tests.networks import (
    BATCH,
    CLASSES,
    INPUTS,
    assert_same_gradients,
    gradients,
    rows,
    small_batch,
    small_cascade,
    staged_cascade,
)
from torchsid import Backprop, check_locality


@pytest.mark.parametrize("label_smoothing", [0.0, 0.1])
@pytest.mark.parametrize("target", ["classes", "rows"])
@pytest.mark.parametrize("make", [small_cascade, staged_cascade, lambda: nn.Linear(INPUTS, CLASSES).double()])
def test_gradients_are_those_of_the_cross_entropy(make: type[nn.Module], target: str, label_smoothing: float) -> None:
    module, (x, classes) = make(), small_batch()
    p_y = classes if target == "classes" else rows()
    expected = copy.deepcopy(module)
    F.cross_entropy(expected(x), p_y, label_smoothing=label_smoothing).backward()
    Backprop(module, label_smoothing=label_smoothing).backward(x, p_y)
    assert_same_gradients(module, gradients(expected), 1e-10)


def test_the_loss_is_the_cross_entropy_less_the_targets_entropy() -> None:
    network, (x, classes) = nn.Linear(INPUTS, CLASSES).double(), small_batch()
    torch.testing.assert_close(Backprop(network).backward(x, classes).loss, F.cross_entropy(network(x), classes).detach())
    p_y = rows()
    expected = F.kl_div(network(x).log_softmax(-1), p_y, reduction="batchmean").detach()
    torch.testing.assert_close(Backprop(network).backward(x, p_y).loss, expected)


def test_a_plain_network_has_one_stage() -> None:
    learner, batch = Backprop(nn.Linear(INPUTS, CLASSES)), small_batch(torch.float32)
    output = learner.backward(*batch)
    assert output.log_belief.shape == (BATCH, CLASSES)
    assert output.stage_losses.shape == (1,)
    torch.testing.assert_close(learner.log_beliefs(batch[0])[0].exp(), torch.full((BATCH, CLASSES), 1 / CLASSES))


def test_label_smoothing_out_of_range_is_refused() -> None:
    with pytest.raises(ValueError, match=r"label_smoothing=1.5: allowed is 0 to 1"):
        Backprop(nn.Linear(2, 2), label_smoothing=1.5)


def test_a_weight_for_stages_that_have_no_loss_is_refused() -> None:
    cascade = small_cascade(4)
    with pytest.raises(ValueError, match=r"scale has shape \[4\]: give one number, or one a loss, \[1\]"):
        Backprop(cascade).backward(*small_batch(), scale=torch.ones(4))
    assert all(parameter.grad is None for parameter in cascade.parameters())


def test_it_is_not_local() -> None:
    with pytest.raises(ValueError, match=r"Backprop has one loss for the whole network.*give a SID learner"):
        check_locality(Backprop(small_cascade()), *small_batch())
