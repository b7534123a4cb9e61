import pytest
import torch
from torch import nn

from tests.heads.samples import BATCH, CLASSES, features, log_belief, randomise
from torchsid.heads import BeliefHead


class Doubled(nn.Module):
    width = 8

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 2 * x


@pytest.mark.parametrize("residual", [False, True])
def test_it_is_linear_in_the_bodys_vector_and_the_belief(residual: bool) -> None:
    head = BeliefHead(Doubled(), CLASSES, residual=residual)
    assert any(parameter.any() for parameter in head.output.parameters()) == (not residual)
    randomise(head)
    expected = torch.cat([2 * features("vectors"), log_belief().exp()], -1) @ head.output.weight.T + head.output.bias
    torch.testing.assert_close(head(features("vectors"), log_belief()), expected + residual * log_belief())


def test_beliefs_of_several_slots_share_one_vector() -> None:
    head, previous = BeliefHead(Doubled(), CLASSES, residual=False, positions=(3, 2)), log_belief((3, 2))
    logits = head(features("vectors"), previous)
    assert logits.shape == previous.shape
    expected = head.output(torch.cat([2 * features("vectors"), previous.exp().flatten(1)], -1))
    torch.testing.assert_close(logits.flatten(1), expected)


def test_an_impossible_class_does_no_harm_to_a_plain_head() -> None:
    certain = torch.full((BATCH, CLASSES), -torch.inf)
    certain[:, 0] = 0.0
    assert torch.isfinite(BeliefHead(Doubled(), CLASSES, residual=False)(features("vectors"), certain)).all()


def test_the_body_reads_shrunken_maps() -> None:
    body = nn.Flatten()
    body.width = 8 * 9
    head = BeliefHead(body, CLASSES, residual=False, factor=4)
    small = torch.nn.functional.avg_pool2d(features("maps"), 4)
    expected = head.output(torch.cat([small.flatten(1), log_belief().exp()], -1))
    torch.testing.assert_close(head(features("maps"), log_belief()), expected)
