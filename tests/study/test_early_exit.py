import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from torchsid import shared_cascade, staged_cascade
from torchsid.anytime import EarlyExit, ExitRule, confidence
from torchsid.models.classifiers.gpt import GPT
from torchsid.study.early_exit import LOSSES, Operations, exit_curve, exit_depth, measure_exits, operations, sweep
from torchsid.tasks import Samples

CLASSES = 3


def beliefs(seed: int, stages: int, count: int, *, coarse: bool = False) -> tuple[Tensor, Tensor]:
    """Log-beliefs `[L+1, N, C]` and labels; coarse ones have many ties."""
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(stages + 1, count, CLASSES, generator=generator)
    log_beliefs = (logits.round() if coarse else logits).log_softmax(-1)
    log_beliefs[0] = torch.full((CLASSES,), 1 / CLASSES).log()
    return log_beliefs, torch.randint(CLASSES, (count,), generator=generator)


@given(
    st.integers(0, 10_000),
    st.integers(1, 5),
    st.integers(1, 12),
    st.booleans(),
    st.sampled_from(["confidence", "entropy"]),
)
def test_a_sweep_holds_what_each_threshold_gives(seed: int, stages: int, count: int, coarse: bool, measure: str) -> None:
    log_beliefs, labels = beliefs(seed, stages, count, coarse=coarse)
    found = sweep(log_beliefs, labels, measure)
    for threshold, accuracy, average_depth in zip(*(column.tolist() for column in found), strict=True):
        depth = exit_depth(log_beliefs, ExitRule(measure, threshold))
        assert average_depth == pytest.approx(float(depth.double().mean()))
        right = log_beliefs[depth, torch.arange(count)].argmax(-1) == labels
        assert accuracy == pytest.approx(float(right.double().mean()))
    assert found.depth[0] == 1
    assert found.depth[-1] == stages
    assert (found.depth.diff() > 0).all()


def test_exit_depth_by_hand() -> None:
    rows = torch.tensor([[0.5, 0.5], [0.6, 0.4], [0.9, 0.1], [0.7, 0.3]])  # one sample, prior and three stages
    log_beliefs = rows.log().unsqueeze(1)
    exits = [int(exit_depth(log_beliefs, ExitRule("confidence", threshold))) for threshold in (0.0, 0.55, 0.65, 0.95, 1.0)]
    assert exits == [1, 1, 2, 3, 3]


def test_thresholds_come_from_validation_alone() -> None:
    validation, (log_beliefs, labels) = beliefs(0, 4, 200), beliefs(1, 4, 300)
    cost = Operations((4, 1, 1, 1), 7)
    curve = exit_curve(validation, (log_beliefs, labels), "confidence", cost)
    other = exit_curve(validation, (log_beliefs, (labels + 1) % CLASSES), "confidence", cost)
    assert [point["threshold"] for point in curve["points"]] == [point["threshold"] for point in other["points"]]
    assert [point["test"]["accuracy"] for point in curve["points"]] != [point["test"]["accuracy"] for point in other["points"]]
    assert (curve["validation_n"], curve["test_n"]) == (200, 300)

    right = (validation[0][-1].argmax(-1) == validation[1]).double().mean()
    all_thresholds = sweep(*validation, "confidence")
    for loss, point in zip(LOSSES, curve["points"], strict=True):
        assert point["loss"] == loss
        assert point["validation"]["accuracy"] >= float(right) - loss - 1e-9
        shallower = all_thresholds.depth < point["validation"]["average_depth"]
        assert (all_thresholds.accuracy[shallower] < float(right) - loss).all()  # none as good stops earlier
        depth = exit_depth(log_beliefs, ExitRule("confidence", point["threshold"]))
        assert point["test"]["average_depth"] == pytest.approx(float(depth.double().mean()))
        assert point["test"]["operations"] == pytest.approx(float((3 + depth).double().mean()) / 7)


def test_operations_of_a_shared_cascade_are_its_products() -> None:
    cascade = shared_cascade(
        nn.Sequential(nn.Flatten(), nn.Linear(9, 6), nn.BatchNorm1d(6)), CLASSES, depth=3, hidden=8, feature_dim=6
    ).train()
    found = operations(cascade, torch.randn(2, 1, 3, 3))
    one = (6 + CLASSES) * 8 + 8 * CLASSES
    assert found == Operations((9 * 6 + one, one, one), 9 * 6 + 3 * one)
    assert cascade.training
    assert found.share(torch.tensor([1, 3])) == pytest.approx((9 * 6 + 2 * one) / found.inference)


def test_heads_of_a_cut_trunk_count_against_early_exit() -> None:
    """The deployed network does without them, so that leaving at the last stage costs more than ordinary inference."""
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, CLASSES))
    cascade = staged_cascade(model, CLASSES, ["1"], torch.randn(4, 4), max_head_share=100.0)
    found = operations(cascade, torch.randn(2, 4))
    assert cascade.plan is not None
    assert found.inference == 4 * 8 + 8 * 8 + 8 * CLASSES
    assert found.stages[0] == 4 * 8 + cascade.plan.stages[0].head_operations
    assert found.share(torch.tensor([2])) > 1

    cascade.plan = None
    with pytest.raises(ValueError, match="staged_cascade"):
        operations(cascade, torch.randn(2, 4))


def test_a_measurement_is_what_the_cascade_does() -> None:
    cascade = shared_cascade(
        nn.Sequential(nn.Flatten(), nn.Linear(9, 6), nn.Dropout(0.5)), CLASSES, depth=3, hidden=8, feature_dim=6
    ).train()
    data = Samples(torch.randint(0, 256, (50, 1, 3, 3), dtype=torch.uint8), torch.randint(CLASSES, (50,)))
    cascade.eval()
    log_beliefs = cascade.log_beliefs(data.inputs / 255)
    rule = ExitRule("confidence", log_beliefs[1:].max(-1).values.exp().median().item())
    cascade.train()
    found = measure_exits(EarlyExit(cascade, rule), data, prepare=lambda images: images / 255, batch_size=20)
    depth = exit_depth(log_beliefs, rule)
    right = log_beliefs[depth, torch.arange(50)].argmax(-1) == data.target
    assert cascade.training
    assert found["accuracy"] == float(right.double().mean())
    assert found["average_depth"] == found["average_computed"] == pytest.approx(float(depth.double().mean()))
    assert sum(row["share"] for row in found["exits"]) == pytest.approx(1)
    assert 0 < found["operations"] < 1
    for row in found["exits"]:
        here = depth == row["stage"]
        assert row["share"] == pytest.approx(float(here.double().mean()))
        assert row["accuracy"] == (float(right[here].double().mean()) if here.any() else None)

    for wrong, message in ((data.take(slice(0)), "no samples"), (Samples(data.inputs, torch.zeros(50, 2)), "one outcome")):
        with pytest.raises(ValueError, match=message):
            measure_exits(EarlyExit(cascade, rule), wrong, prepare=lambda inputs: inputs)


def test_each_position_leaves_at_the_stage_that_is_sure_of_it() -> None:
    torch.manual_seed(0)
    example = torch.zeros(2, 6, dtype=torch.int64)
    cascade = staged_cascade(GPT(example, 5, width=8, blocks=3, heads=2), 5, 3, example)
    tokens, target = torch.randint(5, (4, 6)), torch.randint(5, (4, 6))
    target[1, 4:] = -100
    log_beliefs = cascade.eval().log_beliefs(tokens).detach()[:, target >= 0]  # [L+1, M, 5]
    rule = ExitRule("confidence", float(confidence(log_beliefs[1]).median()))
    found, depth = (
        measure_exits(EarlyExit(cascade, rule), Samples(tokens, target), prepare=lambda x: x),
        exit_depth(log_beliefs, rule),
    )
    answers, truth = log_beliefs[depth, torch.arange(22)], target[target >= 0]
    assert found["n"] == len(depth) == 22
    assert found["average_depth"] == pytest.approx(float(depth.double().mean()))
    assert len(depth.unique()) > 1
    assert found["accuracy"] == pytest.approx(float((answers.argmax(-1) == truth).double().mean()))
    assert found["kl"] == pytest.approx(float(torch.nn.functional.nll_loss(answers, truth)), rel=1e-5)
