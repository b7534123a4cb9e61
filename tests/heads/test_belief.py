import torch
from torch import nn

from tests.heads.samples import BATCH, CLASSES, features, log_belief, randomise
from torchsid.heads import BeliefHead


class Doubled(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 2 * x


def head(*, residual: bool) -> BeliefHead:
    made = randomise(BeliefHead(Doubled(), 8, CLASSES, residual=residual))
    assert isinstance(made, BeliefHead)
    return made


def formula(made: BeliefHead) -> torch.Tensor:
    return torch.cat([2 * features("vectors"), log_belief().exp()], -1) @ made.output.weight.T + made.output.bias


def test_plain_is_linear_in_the_bodys_vector_and_the_belief() -> None:
    made = head(residual=False)
    torch.testing.assert_close(made(features("vectors"), log_belief()), formula(made))


def test_residual_adds_the_previous_belief() -> None:
    made = head(residual=True)
    torch.testing.assert_close(made(features("vectors"), log_belief()), log_belief() + formula(made))


def test_only_residual_starts_at_zero() -> None:
    assert not any(parameter.any() for parameter in BeliefHead(Doubled(), 8, CLASSES).output.parameters())
    assert all(parameter.any() for parameter in BeliefHead(Doubled(), 8, CLASSES, residual=False).output.parameters())


def test_an_impossible_class_does_no_harm_to_a_plain_head() -> None:
    certain = torch.full((BATCH, CLASSES), -torch.inf)
    certain[:, 0] = 0.0
    assert torch.isfinite(head(residual=False)(features("vectors"), certain)).all()


def test_the_body_reads_shrunken_maps() -> None:
    made = BeliefHead(nn.Flatten(), 8 * 9, CLASSES, residual=False, factor=4)
    small = torch.nn.functional.avg_pool2d(features("maps"), 4)
    expected = made.output(torch.cat([small.flatten(1), log_belief().exp()], -1))
    torch.testing.assert_close(made(features("maps"), log_belief()), expected)


def test_the_printed_form_shows_the_settings() -> None:
    assert "residual=False, factor=4" in repr(BeliefHead(Doubled(), 8, CLASSES, residual=False, factor=4))
