"""MAN: its average follows the next stage's first layer, and gradients go through it to the features alone."""

import torch

from tests.learners.trunks import batch, cut
from torchsid.learners.man import MAN


def man(momentum: float) -> MAN:
    return MAN(cut("maps", ["0", "1"], head="momentum"), momentum=momentum)


def test_without_momentum_the_average_is_the_next_layer() -> None:
    learner = man(0.0)
    learner.backward(*batch("maps"))
    for head, layer in zip(learner.module.heads, ("1", "2"), strict=False):
        theirs = dict(learner.module.model.get_submodule(layer).named_parameters())
        for name, parameter in theirs.items():
            assert torch.equal(head.body.average.get_buffer(f"0.{name}"), parameter)
            assert not torch.equal(head.body.local.get_parameter(f"0.{name}"), parameter) or parameter.dim() == 1


def test_with_momentum_it_comes_closer() -> None:
    learner = man(0.75)
    average = learner.module.heads[0].body.average.get_buffer("0.0.weight")
    before, goal = average.clone(), learner.module.model.get_parameter("1.0.weight").detach()
    learner.backward(*batch("maps"))
    torch.testing.assert_close(average, 0.75 * before + 0.25 * goal)


def test_the_gradient_goes_through_the_average_to_the_features() -> None:
    learner, (x, target) = man(0.5), batch("maps")
    learner.module.heads[0].body.local.requires_grad_(False)
    with torch.no_grad():
        for parameter in learner.module.heads[0].body.local.parameters():
            parameter.zero_()  # what is left reaches the features through the average
    learner.backward(x, target)
    assert learner.module.model.get_parameter("0.0.weight").grad.any()
    assert not learner.module.heads[0].body.average.get_buffer("0.0.weight").requires_grad
    assert not list(learner.module.heads[0].body.average.parameters())
