import json
import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from torchsid import SID, shared_cascade
from torchsid.tasks import Samples
from torchsid.training.evaluation import calibration, choose, confusion, evaluate, expected_calibration_error, unbroken

CLASSES, COUNT = 4, 103


@pytest.fixture
def samples() -> Samples:
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randint(0, 256, (COUNT, 1, 3, 3), generator=generator, dtype=torch.uint8)
    return Samples(inputs, torch.randint(0, CLASSES, (COUNT,), generator=generator))


@pytest.fixture
def learner() -> SID:
    torch.manual_seed(0)
    extractor = nn.Sequential(nn.Flatten(), nn.Linear(9, 6), nn.BatchNorm1d(6), nn.Dropout(0.5), nn.Linear(6, 6))
    return SID(shared_cascade(extractor, CLASSES, depth=3, hidden=8))


def prepare(inputs: Tensor) -> Tensor:
    return inputs / 255


def test_numbers_are_those_of_a_plain_computation(learner: SID, samples: Samples) -> None:
    result = evaluate(learner, samples, prepare=prepare)
    learner.module.eval()
    log_beliefs, target = learner.log_beliefs(prepare(samples.inputs)), samples.target
    for stage in range(4):
        assert result["accuracy"][stage] == pytest.approx((log_beliefs[stage].argmax(-1) == target).double().mean().item())
        assert result["kl"][stage] == pytest.approx(F.nll_loss(log_beliefs[stage], target).item(), rel=1e-5)
    assert result["n"] == COUNT
    assert result["kl"][0] == pytest.approx(math.log(CLASSES))
    assert result["correct"].count("1") / COUNT == pytest.approx(result["accuracy"][-1])
    assert sum(map(sum, result["confusion"])) == sum(result["calibration"]["count"]) == COUNT
    assert sum(result["confusion"][c][c] for c in range(CLASSES)) == result["correct"].count("1")
    assert list(result["kl_quantiles"]) == ["0.05", "0.25", "0.5", "0.75", "0.95"]
    each = -log_beliefs[-1].gather(1, target[:, None]).squeeze(1)
    assert result["kl_quantiles"]["0.5"][-1] == pytest.approx(each.median().item(), rel=1e-5)
    assert json.loads(json.dumps(result)) == result
    assert evaluate(learner.log_beliefs, samples, prepare=prepare) == result  # a function is enough


def test_weights_count_and_masked_positions_do_not(learner: SID, samples: Samples) -> None:
    """Two positions a sample; weights of whole numbers are repetitions."""
    generator = torch.Generator().manual_seed(1)
    target = torch.stack([samples.target, samples.target.flip(0)], 1)
    weight = torch.randint(0, 3, target.shape, generator=generator)
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
    with pytest.raises(ValueError, match="weights are 0"):
        evaluate(beliefs, Samples(samples.inputs, target, torch.zeros(target.shape)), prepare=prepare)


def test_rows_are_judged_by_their_likeliest_outcome(learner: SID, samples: Samples) -> None:
    rows = F.one_hot(samples.target, CLASSES).double()
    assert evaluate(learner, Samples(samples.inputs, rows), prepare=prepare) == evaluate(learner, samples, prepare=prepare)
    smooth = 0.9 * rows + 0.025
    result = evaluate(learner, Samples(samples.inputs, smooth), prepare=prepare)
    learner.module.eval()
    log_beliefs = learner.log_beliefs(prepare(samples.inputs)).double()
    assert result["kl"] == pytest.approx([F.kl_div(each, smooth, reduction="batchmean").item() for each in log_beliefs], rel=1e-6)


def test_the_size_of_a_pass_does_not_matter(learner: SID, samples: Samples) -> None:
    whole, parts = (evaluate(learner, samples, prepare=prepare, batch_size=size) for size in (COUNT, 10))
    assert whole["correct"] == parts["correct"]
    assert whole["kl"] == pytest.approx(parts["kl"], rel=1e-5)


def test_nothing_is_left_changed(learner: SID, samples: Samples) -> None:
    module = learner.module.train()
    module.extractor[4].eval()
    state = {key: tensor.clone() for key, tensor in module.state_dict().items()}
    random = torch.random.get_rng_state()
    modes = [part.training for part in module.modules()]
    first, second = (evaluate(learner, samples, prepare=prepare) for _ in range(2))
    assert first == second  # dropout is off
    assert all(torch.equal(state[key], tensor) for key, tensor in module.state_dict().items())
    assert torch.equal(torch.random.get_rng_state(), random)
    assert [part.training for part in module.modules()] == modes


def test_no_samples_are_an_error(learner: SID, samples: Samples) -> None:
    with pytest.raises(ValueError, match=r"data\.validation"):
        evaluate(learner, samples.take(slice(0)), prepare=prepare)


def test_calibration_of_a_case_done_by_hand() -> None:
    """Bins of width 1/15: 0.5 lies in the eighth, 0.95 and 1.0 in the last."""
    bins = calibration(torch.tensor([0.5, 0.95, 1.0, 0.5]).double(), torch.tensor([True, True, False, False]))
    assert [index for index, count in enumerate(bins["count"]) if count] == [7, 14]
    assert (bins["confidence"][7], bins["accuracy"][7], bins["count"][7]) == (0.5, 0.5, 2)
    assert (bins["confidence"][14], bins["accuracy"][14]) == pytest.approx((0.975, 0.5))
    assert expected_calibration_error(bins) == pytest.approx(0.5 * 0.475)


def test_confusion_has_true_outcomes_as_rows() -> None:
    assert confusion(torch.tensor([0, 0, 1]), torch.tensor([1, 0, 1]), 3).tolist() == [[1, 1, 0], [0, 1, 0], [0, 0, 0]]


def test_unbroken_counts_back_from_the_last_stage() -> None:
    holds = torch.tensor([[True, True, False, False], [False, True, True, False], [True, True, True, False]])
    assert unbroken(holds).tolist() == [1, 3, 2, 0]


# Samples to show


def beliefs_of(answers: list[list[int]]) -> Tensor:
    """Log-beliefs `[L+1, N, 2]` whose stages give these answers (one list a sample), below a uniform prior."""
    rows = F.one_hot(torch.tensor(answers).T, 2).float().mul(3).log_softmax(-1)
    return torch.cat([torch.full_like(rows[:1], 0.5).log(), rows])


def ones(count: int, weight: Tensor | None = None) -> Samples:
    target = torch.ones(count if weight is None else weight.shape, dtype=torch.long)
    return Samples(torch.zeros(count, 1), target, weight)


EARLY, LATE, LATER, WRONG = [1, 1, 1], [0, 1, 1], [1, 0, 1], [1, 1, 0]


def test_early_late_and_wrong_ones_are_chosen() -> None:
    log_beliefs = beliefs_of([EARLY, EARLY, EARLY, LATE, LATER, WRONG, EARLY])
    assert choose(log_beliefs, ones(7), 3).tolist() == [0, 4, 5]


def test_a_third_that_is_short_is_filled_up() -> None:
    log_beliefs = beliefs_of([[1, 1]] * 5)
    assert choose(log_beliefs, ones(5), 3).tolist() == [0, 1, 2]
    assert choose(log_beliefs, ones(5), 12).tolist() == [0, 1, 2, 3, 4]


def test_positions_that_do_not_count_decide_nothing() -> None:
    """A second position that is wrong, or late, is masked in all samples but the last."""
    first, second = beliefs_of([EARLY, LATER, WRONG, EARLY, EARLY]), beliefs_of([WRONG, WRONG, LATE, WRONG, WRONG])
    weight = torch.tensor([[1.0, 0.0]] * 4 + [[1.0, 1.0]])
    log_beliefs = torch.stack([first, second], 2)  # [L+1, N, 2, C]
    assert choose(log_beliefs, ones(5, weight), 3).tolist() == [0, 1, 2]
    assert choose(log_beliefs[:, [3, 4]], ones(2, weight[3:]), 1).tolist() == [0]
