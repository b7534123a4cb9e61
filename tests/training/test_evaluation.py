import json
import math
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from torchsid import SID, shared_cascade
from torchsid.training.evaluation import calibration, confusion, evaluate, expected_calibration_error, unbroken

CLASSES, COUNT = 4, 103


@pytest.fixture
def images() -> SimpleNamespace:
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (COUNT, 1, 3, 3), generator=generator, dtype=torch.uint8)
    return SimpleNamespace(images=pixels, labels=torch.randint(0, CLASSES, (COUNT,), generator=generator))


@pytest.fixture
def learner() -> SID:
    torch.manual_seed(0)
    extractor = nn.Sequential(nn.Flatten(), nn.Linear(9, 6), nn.BatchNorm1d(6), nn.Dropout(0.5), nn.Linear(6, 6))
    return SID(shared_cascade(extractor, CLASSES, depth=3, hidden=8))


def prepare(images: Tensor) -> Tensor:
    return images / 255


def test_numbers_are_those_of_a_plain_computation(learner: SID, images: SimpleNamespace) -> None:
    result = evaluate(learner, images, prepare=prepare)
    learner.module.eval()
    log_beliefs = learner.log_beliefs(prepare(images.images))
    for stage in range(4):
        assert result["accuracy"][stage] == (log_beliefs[stage].argmax(-1) == images.labels).double().mean().item()
        assert result["kl"][stage] == pytest.approx(F.nll_loss(log_beliefs[stage], images.labels).item(), rel=1e-5)
    assert result["n"] == COUNT
    assert result["kl"][0] == pytest.approx(math.log(CLASSES))
    assert result["correct"].count("1") / COUNT == pytest.approx(result["accuracy"][-1])
    assert sum(map(sum, result["confusion"])) == sum(result["calibration"]["count"]) == COUNT
    assert sum(result["confusion"][c][c] for c in range(CLASSES)) == result["correct"].count("1")
    assert list(result["kl_quantiles"]) == ["0.05", "0.25", "0.5", "0.75", "0.95"]
    per_image = -log_beliefs[-1].gather(1, images.labels[:, None]).squeeze(1)
    assert result["kl_quantiles"]["0.5"][-1] == pytest.approx(per_image.median().item(), rel=1e-5)
    assert json.loads(json.dumps(result)) == result


def test_the_size_of_a_pass_does_not_matter(learner: SID, images: SimpleNamespace) -> None:
    whole, parts = (evaluate(learner, images, prepare=prepare, batch_size=size) for size in (COUNT, 10))
    assert whole["correct"] == parts["correct"]
    assert whole["kl"] == pytest.approx(parts["kl"], rel=1e-5)


def test_nothing_is_left_changed(learner: SID, images: SimpleNamespace) -> None:
    module = learner.module.train()
    module.extractor[4].eval()
    state = {key: tensor.clone() for key, tensor in module.state_dict().items()}
    random = torch.random.get_rng_state()
    modes = [part.training for part in module.modules()]
    first, second = (evaluate(learner, images, prepare=prepare) for _ in range(2))
    assert first == second  # dropout is off
    assert all(torch.equal(state[key], tensor) for key, tensor in module.state_dict().items())
    assert torch.equal(torch.random.get_rng_state(), random)
    assert [part.training for part in module.modules()] == modes


def test_a_function_is_enough(learner: SID, images: SimpleNamespace) -> None:
    learner.module.eval()
    assert evaluate(learner.log_beliefs, images, prepare=prepare) == evaluate(learner, images, prepare=prepare)


def test_calibration_of_a_case_done_by_hand() -> None:
    """Bins of width 1/15: 0.5 lies in the eighth, 0.95 and 1.0 in the last."""
    bins = calibration(torch.tensor([0.5, 0.95, 1.0, 0.5]).double(), torch.tensor([True, True, False, False]))
    assert [index for index, count in enumerate(bins["count"]) if count] == [7, 14]
    assert (bins["confidence"][7], bins["accuracy"][7], bins["count"][7]) == (0.5, 0.5, 2)
    assert (bins["confidence"][14], bins["accuracy"][14]) == pytest.approx((0.975, 0.5))
    assert expected_calibration_error(bins) == pytest.approx(0.5 * 0.475)


def test_confusion_has_true_classes_as_rows() -> None:
    assert confusion(torch.tensor([0, 0, 1]), torch.tensor([1, 0, 1]), 3).tolist() == [[1, 1, 0], [0, 1, 0], [0, 0, 0]]


def test_no_images_is_an_error(learner: SID, images: SimpleNamespace) -> None:
    empty = SimpleNamespace(images=images.images[:0], labels=images.labels[:0])
    with pytest.raises(ValueError, match=r"data\.validation"):
        evaluate(learner, empty, prepare=prepare)


def test_unbroken_counts_back_from_the_last_stage() -> None:
    holds = torch.tensor([[True, True, False, False], [False, True, True, False], [True, True, True, False]])
    assert unbroken(holds).tolist() == [1, 3, 2, 0]
