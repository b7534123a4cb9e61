import torch

from torchsid import StepOutput


def test_the_loss_is_the_sum_of_the_stage_losses() -> None:
    output = StepOutput(torch.tensor([1.0, 2.5, 0.5]), torch.zeros(4, 2, 3))
    assert output.loss.item() == 4.0
    assert output.loss.shape == ()
