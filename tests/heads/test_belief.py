"""What is added to every body; which features a kind reads, and how it meets its budget."""

import pytest
import torch
from torch import nn

from tests.heads.samples import BATCH, CHANNELS, CLASSES, READS, UNREADABLE, create, features, log_belief, randomise
from torchsid import heads
from torchsid.errors import HeadError
from torchsid.heads import BeliefHead
from torchsid.heads.cost import multiply_adds

POOLED = ["conv", "attention", "trunk"]


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
    head = BeliefHead(body, CLASSES, residual=False, factor=5)
    small = torch.nn.functional.avg_pool2d(features("maps"), 5, ceil_mode=True)  # of what is inside, 3x3
    expected = head.output(torch.cat([small.flatten(1), log_belief().exp()], -1))
    torch.testing.assert_close(head(features("maps"), log_belief()), expected)


# Heads by their kinds


def maps(*size: int) -> torch.Tensor:
    return torch.empty(2, CHANNELS, *size, device="meta")


def cost(kind: str, form: str) -> int:
    return multiply_adds(create(kind, form), features(form), log_belief())


@pytest.mark.parametrize(("kind", "form"), UNREADABLE)
def test_other_features_are_refused(kind: str, form: str) -> None:
    readers = ", ".join(sorted(name for name, forms in READS.items() if form in forms))
    with pytest.raises(HeadError, match=rf"head '{kind}' cannot read {form} \[B, .*8\]: choose from {readers}"):
        create(kind, form)


@pytest.mark.parametrize("shape", [(), (3,)])
def test_other_ranks_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(HeadError, match=rf"features of rank {len(shape)}, \[.*give vectors"):
        heads.create("linear", torch.zeros(shape), CLASSES)


@pytest.mark.parametrize(("kind", "form"), [("attention", "tokens"), ("linear", "maps"), ("mlp", "vectors")])
def test_who_cannot_answer_at_each_token_says_who_can(kind: str, form: str) -> None:
    with pytest.raises(HeadError, match="choose from augmented, linear, mlp, readout, thin, trunk"):
        create(kind, form, positions="tokens")


class Extremes(torch.nn.Module):
    """A body of one's own: all that it must have."""

    def __init__(self, example: torch.Tensor) -> None:
        super().__init__()
        self.width = 2 * example.shape[-1]

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return torch.cat([tokens.amin(1), tokens.amax(1)], -1)


def test_a_body_from_outside_the_package() -> None:
    head = heads.create(f"{__name__}:Extremes", features("tokens"), CLASSES, residual=False, budget=10**6)
    assert head(features("tokens"), log_belief()).shape == log_belief().shape
    with pytest.raises(ValueError, match="did you mean 'attention'"):
        heads.create("attenton", features("tokens"), CLASSES)


def test_all_problems_are_told_at_once() -> None:
    with pytest.raises(HeadError) as caught:
        heads.create("conv", torch.zeros(2, 5, 8), 1, budget=0)
    for part in ("tokens [B, 5, 8]: choose", "num_classes=1", "budget=0"):
        assert part in str(caught.value)


@pytest.mark.parametrize(
    ("size", "factor"), [((7, 7), 1), ((8, 8), 1), ((9, 9), 2), ((32, 32), 4), ((56, 28), 8), ((1, 1), 1), ((3, 64), 2)]
)
def test_conv_reads_8x8_at_most_as_far_as_two_rows_remain(size: tuple[int, int], factor: int) -> None:
    head = heads.create("conv", maps(*size), CLASSES)
    assert head.factor == factor
    assert head(torch.randn(2, CHANNELS, *size), torch.zeros(2, CLASSES)).shape == (2, CLASSES)


@pytest.mark.parametrize("kind", POOLED)
def test_a_budget_is_met_by_the_smallest_pooling(kind: str) -> None:
    free = create(kind, "maps")
    exact = cost(kind, "maps")
    assert create(kind, "maps", budget=exact).factor == free.factor
    head = create(kind, "maps", budget=exact - 1)
    assert head.factor == 2 * free.factor
    assert multiply_adds(head, features("maps"), log_belief()) < exact


@pytest.mark.parametrize("kind", POOLED)
def test_the_budget_does_not_touch_the_weights(kind: str) -> None:
    states = []
    for budget in (None, cost(kind, "maps") - 1):
        torch.manual_seed(3)
        states.append(create(kind, "maps", residual=False, budget=budget).state_dict())
    torch.testing.assert_close(states[0], states[1], rtol=0, atol=0)


def test_pooling_ends_at_2x2() -> None:
    least = 4 * 9 * 8 * 8 + (8 + 4) * 4
    assert create("conv", "maps", budget=least).factor == 8  # 12 pixels a side, 6, 3, 2
    with pytest.raises(
        HeadError, match=r"head 'conv' on maps \[B, 8, 12, 12\] takes 2,352 multiply-adds a sample with maps read 8 times smaller"
    ):
        create("conv", "maps", budget=least - 1)


@pytest.mark.parametrize(("kind", "form"), [("mlp", "maps"), ("linear", "maps"), ("attention", "tokens")])
def test_a_head_that_cannot_be_made_cheaper_says_which_is(kind: str, form: str) -> None:
    with pytest.raises(
        HeadError, match=rf"head '{kind}' on {form} .* multiply-adds a sample, over the budget of 47: raise"
    ) as error:
        create(kind, form, budget=47)
    assert ("linear takes 48" in str(error.value)) == (kind != "linear")
    assert create("linear", form, budget=48).factor == 1


def test_heads_are_made_where_modules_are_made() -> None:
    with torch.device("meta"):
        head = heads.create("conv", maps(32, 32), CLASSES, budget=40_000)
    assert head.factor == 4
    assert all(parameter.is_meta for parameter in head.parameters())
