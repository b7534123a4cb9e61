import copy

import pytest
import torch.nn.functional as F
from torch import Tensor, nn

from tests.cut.classifiers import classifier, cut, images
from tests.networks import CLASSES, INPUTS, assert_same_gradients, gradients, rows, small_batch, small_cascade, staged_cascade
from torchsid import Backprop


@pytest.mark.parametrize("label_smoothing", [0.0, 0.1])
@pytest.mark.parametrize("target", [small_batch()[1], rows()], ids=["classes", "rows"])
@pytest.mark.parametrize("make", [small_cascade, staged_cascade, lambda: nn.Linear(INPUTS, CLASSES).double()])
def test_gradients_are_those_of_the_cross_entropy(make: type[nn.Module], target: Tensor, label_smoothing: float) -> None:
    module, (x, _) = make(), small_batch()
    expected = copy.deepcopy(module)
    F.cross_entropy(expected(x), target, label_smoothing=label_smoothing).backward()
    Backprop(module, label_smoothing=label_smoothing).backward(x, target)
    assert_same_gradients(module, gradients(expected), 1e-10)


def test_backpropagation_through_a_staged_cascade_is_that_of_its_model() -> None:
    cascade, (x, target) = cut("mlp"), images("mlp")
    model = classifier("mlp")
    for module in (cascade, model):
        Backprop(module).backward(x, target)
    assert_same_gradients(cascade.model, gradients(model), 1e-12)
