import torch

from torchsid.study.atlas import AtlasMaker
from torchsid.study.fates import fates

CLEAN = torch.tensor([0, 0, 1, 2, 2])
GIVEN = torch.tensor([1, 2, 0, 0, 2])  # the last is right


def beliefs(answers: torch.Tensor) -> torch.Tensor:
    stages = torch.full((*answers.shape, 3), 0.1).scatter(-1, answers.unsqueeze(-1), 0.8)
    return torch.cat([torch.full_like(stages[:1], 1 / 3), stages]).log()


def test_every_wrong_label_is_found_or_memorised_or_neither() -> None:
    labels = {"training": GIVEN, "clean": CLEAN}
    maker = AtlasMaker(labels)
    maker.add(slice(0, 5), beliefs(torch.tensor([[0, 0, 2, 2, 2], [1, 0, 2, 0, 1]])))
    found = fates(maker.atlas(), "training", GIVEN)
    assert found is not None
    assert found.wrong.tolist() == [True] * 4 + [False]
    assert found.found.tolist() == [0.75, 0.25]
    assert found.memorised.tolist() == [0, 0.5]
    assert found.other.tolist() == [0.25, 0.25]
    assert found.agreed.tolist() == [1, 0]
    torch.testing.assert_close(found.in_truth.float(), torch.tensor([1 / 3, (3 * 0.8 + 0.1) / 4, (0.8 + 3 * 0.1) / 4]))
    torch.testing.assert_close(found.in_label.float(), torch.tensor([1 / 3, 0.1, (2 * 0.8 + 2 * 0.1) / 4]))
    torch.testing.assert_close(found.in_right.float(), torch.tensor([1 / 3, 0.8, 0.1]))


def test_without_wrong_labels_there_are_no_fates() -> None:
    maker = AtlasMaker({"training": CLEAN})
    maker.add(slice(0, 5), beliefs(CLEAN.unsqueeze(0)))
    assert fates(maker.atlas(), "training", CLEAN) is None


def test_where_every_label_is_wrong_there_is_no_reference() -> None:
    given = (CLEAN + 1) % 3
    maker = AtlasMaker({"training": given, "clean": CLEAN})
    maker.add(slice(0, 5), beliefs(CLEAN.unsqueeze(0)))
    found = fates(maker.atlas(), "training", given)
    assert found is not None
    assert found.found.tolist() == [1]
    assert found.agreed.isnan().all()
