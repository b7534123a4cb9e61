"""How good every stage's belief is, and whether beliefs still come closer to the target."""

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from torchsid import SID, LocalObjective, shared_cascade
from torchsid.errors import NonFiniteError
from torchsid.tasks import Samples
from torchsid.training import RunConfig, RunDirectory, train
from torchsid.training.evaluation import Descent, calibration, choose, descent_of, evaluate, expected_calibration_error, unbroken

from .conftest import Recorder, checkpoint_digests, lasting

Small = Callable[..., RunConfig]
CLASSES, COUNT = 4, 103


@pytest.fixture
def samples() -> Samples:
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randint(0, 256, (COUNT, 1, 3, 3), generator=generator, dtype=torch.uint8)
    return Samples(inputs, torch.randint(0, CLASSES, (COUNT,), generator=generator))


@pytest.fixture
def learner() -> SID:
    extractor = nn.Sequential(nn.Flatten(), nn.Linear(9, 6), nn.BatchNorm1d(6), nn.Dropout(0.5), nn.Linear(6, 6))
    return SID(shared_cascade(extractor, CLASSES, depth=3, hidden=8))


def prepare(inputs: Tensor) -> Tensor:
    return inputs / 255


def test_numbers_are_those_of_a_plain_computation(learner: SID, samples: Samples) -> None:
    modes = [part.training for part in learner.module.modules()]
    result = evaluate(learner, samples, prepare=prepare, batch_size=20)
    assert [part.training for part in learner.module.modules()] == modes
    learner.module.eval()
    log_beliefs, target = learner.log_beliefs(prepare(samples.inputs)), samples.target
    answers = log_beliefs.argmax(-1)
    for stage in range(4):
        assert result["accuracy"][stage] == pytest.approx((answers[stage] == target).double().mean().item())
        assert result["agreement"][stage] == pytest.approx((answers[stage] == answers[-1]).double().mean().item())
        assert result["kl"][stage] == pytest.approx(F.nll_loss(log_beliefs[stage], target).item(), rel=1e-5)
    assert (result["n"], result["kl"][0]) == (COUNT, pytest.approx(math.log(CLASSES)))
    assert result["correct"].count("1") / COUNT == pytest.approx(result["accuracy"][-1])
    assert sum(map(sum, result["confusion"])) == sum(result["calibration"]["count"]) == COUNT
    assert sum(result["confusion"][c][c] for c in range(CLASSES)) == result["correct"].count("1")
    each = -log_beliefs[-1].gather(1, target[:, None]).squeeze(1)
    assert result["kl_quantiles"]["0.5"][-1] == pytest.approx(each.median().item(), rel=1e-5)
    assert json.loads(json.dumps(result)) == result
    with pytest.raises(ValueError, match=r"data\.validation"):
        evaluate(learner, samples.take(slice(0)), prepare=prepare)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_weights_that_have_diverged_are_named_by_their_stage(learner: SID, samples: Samples, value: float) -> None:
    with torch.no_grad():
        next(learner.module.stages[1].parameters())[0] = value
    with pytest.raises(NonFiniteError, match="belief after stage 2"):
        evaluate(learner, samples, prepare=prepare)


def test_weights_count_and_masked_positions_do_not(learner: SID, samples: Samples) -> None:
    """Two positions a sample; weights of whole numbers are repetitions."""
    target = torch.stack([samples.target, samples.target.flip(0)], 1)
    weight = torch.randint(0, 3, target.shape, generator=torch.Generator().manual_seed(1))
    masked = Samples(samples.inputs, target.masked_fill(weight == 0, -100), weight.float())
    learner.module.eval()

    def beliefs(x: Tensor) -> Tensor:
        log_beliefs = learner.log_beliefs(x)
        return torch.stack([log_beliefs, log_beliefs.roll(1, -1)], 2)  # [L+1, B, 2, C]

    result = evaluate(beliefs, masked, prepare=prepare, batch_size=20)
    log_beliefs = beliefs(prepare(samples.inputs)).flatten(1, 2).repeat_interleave(weight.flatten(), 1)
    repeated = target.flatten().repeat_interleave(weight.flatten())
    assert result["n"] == (weight > 0).sum()
    for stage in range(4):
        assert result["kl"][stage] == pytest.approx(F.nll_loss(log_beliefs[stage], repeated).item(), rel=1e-5)
        assert result["accuracy"][stage] == pytest.approx((log_beliefs[stage].argmax(-1) == repeated).double().mean().item())
    ignored = evaluate(beliefs, Samples(samples.inputs, target.masked_fill(weight == 0, -100)), prepare=prepare)
    assert ignored == evaluate(beliefs, replace(masked, weight=(weight > 0).float()), prepare=prepare)
    with pytest.raises(ValueError, match="weights are 0"):
        evaluate(beliefs, Samples(samples.inputs, target, torch.zeros(target.shape)), prepare=prepare)


def test_each_group_of_samples_has_an_accuracy_of_its_own(learner: SID, samples: Samples) -> None:
    assert "groups" not in evaluate(learner, samples, prepare=prepare)
    group = torch.arange(COUNT) % 3 * 2  # none is of group 1
    grouped = replace(samples, group=group)
    found = evaluate(learner, grouped, prepare=prepare, batch_size=20)["groups"]
    alone = {str(each): evaluate(learner, grouped.subset(group == each), prepare=prepare) for each in (0, 2, 4)}
    assert found == pytest.approx({name: each["accuracy"][-1] for name, each in alone.items()})


def test_groups_count_by_the_weight_of_their_positions() -> None:
    log_beliefs = torch.eye(2)[torch.tensor([[0, 1, 0], [0, 1, 1]])].mul(5).log_softmax(-1)  # [2, 3, C]
    target, weight = torch.tensor([[0, 0, -100], [1, 1, 1]]), torch.tensor([[3.0, 1.0, 1.0], [0.0, 2.0, 2.0]])
    samples = Samples(torch.arange(2), target, weight, group=torch.tensor([0, 1]))
    beliefs = torch.stack([log_beliefs, log_beliefs])
    assert evaluate(lambda x: beliefs[:, x], samples, prepare=lambda x: x)["groups"] == pytest.approx({"0": 0.75, "1": 1.0})


def test_rows_are_judged_by_their_likeliest_outcome(learner: SID, samples: Samples) -> None:
    rows = F.one_hot(samples.target, CLASSES).double()
    assert evaluate(learner, Samples(samples.inputs, rows), prepare=prepare) == evaluate(learner, samples, prepare=prepare)
    smooth = 0.9 * rows + 0.025
    learner.module.eval()
    result = evaluate(learner.log_beliefs, Samples(samples.inputs, smooth), prepare=prepare)  # a function is enough
    log_beliefs = learner.log_beliefs(prepare(samples.inputs)).double()
    assert result["kl"] == pytest.approx([F.kl_div(each, smooth, reduction="batchmean").item() for each in log_beliefs], rel=1e-6)


def test_cases_done_by_hand() -> None:
    """Bins of width 1/15: 0.5 lies in the eighth, 0.95 and 1.0 in the last."""
    bins = calibration(torch.tensor([0.5, 0.95, 1.0, 0.5]).double(), torch.tensor([True, True, False, False]))
    assert [index for index, count in enumerate(bins["count"]) if count] == [7, 14]
    assert (bins["confidence"][7], bins["accuracy"][7], bins["count"][7]) == (0.5, 0.5, 2)
    assert (bins["confidence"][14], bins["accuracy"][14]) == pytest.approx((0.975, 0.5))
    assert expected_calibration_error(bins) == pytest.approx(0.5 * 0.475)
    holds = torch.tensor([[True, True, False, False], [False, True, True, False], [True, True, True, False]])
    assert unbroken(holds).tolist() == [1, 3, 2, 0]


EARLY, LATE, LATER, WRONG = [1, 1, 1], [0, 1, 1], [1, 0, 1], [1, 1, 0]


def chosen(answers: list[list[int]], count: int, second: list[list[int]] | None = None) -> list[int]:
    """The samples to show when their stages give these answers, 1 being right; at a second position those, which do not count."""
    positions = [torch.tensor(each).T for each in (answers, second or answers)]
    rows = F.one_hot(torch.stack(positions, 2), 2).float().mul(3).log_softmax(-1)  # [L, N, 2, C]
    weight = torch.tensor([[1.0, 0.0]] * len(answers))
    samples = Samples(torch.zeros(len(answers), 1), torch.ones(weight.shape, dtype=torch.long), weight)
    return choose(torch.cat([torch.full_like(rows[:1], 0.5).log(), rows]), samples, count).tolist()


def test_samples_that_are_decided_early_late_and_wrongly_are_shown() -> None:
    assert chosen([EARLY, EARLY, EARLY, LATE, LATER, WRONG, EARLY], 3) == [0, 4, 5]
    assert chosen([EARLY, LATER, WRONG, EARLY], 3, second=[WRONG, WRONG, LATE, WRONG]) == [0, 1, 2]
    assert chosen([EARLY] * 5, 3) == [0, 1, 2]  # a third that is short is filled up
    assert chosen([EARLY] * 5, 12) == [0, 1, 2, 3, 4]


def of(to_target: list[list[float]], weight: list[float] | None = None) -> Descent:
    """The descent of two-class beliefs in class 0 whose KL is given, `[L+1][N]`."""
    right = (-torch.tensor(to_target)).exp()
    count = right.shape[1]
    samples = Samples(torch.zeros(count, 1), torch.zeros(count, dtype=torch.int64), torch.tensor(weight) if weight else None)
    return descent_of([(samples, torch.stack([right, 1 - right], dim=-1).log())], LocalObjective(), "some samples")


def test_shares_and_means_by_stage_and_rises_that_are_more_than_chance() -> None:
    found = of([[0.7, 0.7, 0.7, 0.7], [0.5, 0.5, 0.5, 0.9], [0.5, 0.4, 0.6, 0.8]])
    assert (found.shares, found.means, found.rising) == ([0.75, 0.75], pytest.approx([0.7, 0.6, 0.575]), [])
    assert of([[0.7, 9.0], [0.5, 10.0]], weight=[1.0, 0.0]).shares == [1.0]
    assert of([[0.5] * 8, [0.6] * 8]).rising == [1]
    assert of([[0.5] * 8, [0.3, 0.7] * 4]).rising == []
    assert of([[0.5] * 8, [0.31, 0.7] * 4]).rising == []  # the mean rises by a fortieth of its spread
    assert of([[0.5] * 8, [0.4] * 8, [0.45] * 8]).rising == [2]


def test_the_shares_are_in_the_record_and_training_is_the_same(small: Small, tmp_path: Path, finished: RunDirectory) -> None:
    run = train(small("watch.certify=true"), tmp_path / "run")
    assert all(len(record["descent"]) == 2 and all(0 <= share <= 1 for share in record["descent"]) for record in lasting(run))
    assert lasting(finished.path)[0]["descent"] is None
    assert checkpoint_digests(run) == checkpoint_digests(finished.path)
    other = ["training.epochs=1", "data.validation=0.0", "learner.label_smoothing=0.1", "learner.direction=reverse"]
    assert len(lasting(train(small("watch.certify=true", *other), tmp_path / "reverse"))[0]["descent"]) == 2
    plain = small("watch.certify=true", "training.epochs=1", recipe="digits-bp-plain")
    assert lasting(train(plain, tmp_path / "plain"))[0]["descent"] is None


@pytest.mark.parametrize(("on_no_descent", "epochs"), [("warn", 6), ("stop", 5)])
def test_descent_that_ends_for_two_epochs_in_a_row_is_told_once_and_can_end_the_run(
    small: Small, tmp_path: Path, on_no_descent: str, epochs: int
) -> None:
    recorder = Recorder()
    method = ["learner.name=tests.training.toys:Overconfident", "learner.at=[2, 4, 5, 6]", f"watch.on_no_descent={on_no_descent}"]
    run = RunDirectory(train(small(*method, "watch.certify=true", "training.epochs=6"), tmp_path / "run", reporter=recorder))
    falls, rises = [1, 1], [1, pytest.approx(0.1, abs=0.05)]
    assert [record["descent"] for record in recorder.records] == [falls, rises, falls, rises, rises, rises][:epochs]
    warning, small_validation = recorder.warnings
    assert warning.startswith("epoch 5: stage 2 no longer improves on stage 1 (mean KL ")
    assert warning.endswith("on 30 validation samples" + ("; training ends here" if on_no_descent == "stop" else ""))
    assert [record["message"] for record in run.metrics() if record["event"] == "warning"] == [warning, small_validation]
    assert (run.manifest()["status"], run.evaluation()["last"]["epoch"]) == ("finished", epochs)
