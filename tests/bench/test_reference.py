import pytest
import torch
from tests.networks import assert_same_gradients, gradients, small_batch, small_cascade

from torchsid import SID, LocalObjective
from torchsid.bench.reference import Reference


@pytest.mark.parametrize("stage", ["plain", "residual"])
@pytest.mark.parametrize("alpha", [0.3, "linear:1.0:0.2"])
def test_it_gives_the_gradients_and_the_loss_of_the_schedules(stage: str, alpha: float | str) -> None:
    cascade, (x, target) = small_cascade(stage=stage), small_batch()
    output = SID(cascade, alpha=alpha).backward(x, target)
    expected = gradients(cascade)
    cascade.zero_grad()
    loss = Reference(cascade, LocalObjective(alpha=alpha)).backward(x, target)
    torch.testing.assert_close(loss, output.loss, atol=1e-12, rtol=1e-12)
    assert_same_gradients(cascade, expected, tolerance=1e-10)
