from dataclasses import FrozenInstanceError

import pytest
import torch
from torchsid.tasks.images.splits import ImageSet


def test_a_set_knows_its_length_and_gives_samples() -> None:
    images = torch.arange(12, dtype=torch.uint8).view(3, 1, 2, 2)
    labels, clean, rows = torch.tensor([0, 1, 2]), torch.tensor([0, 1, 0]), torch.tensor([5, 7, 9])
    whole = ImageSet(images=images, labels=labels, clean_labels=clean, rows=rows)
    part = whole.take(torch.tensor([2, 0]))
    assert (len(whole), len(part)) == (3, 2)
    assert torch.equal(part.images, images[[2, 0]])
    assert (part.labels.tolist(), part.clean_labels.tolist(), part.rows.tolist()) == ([2, 0], [0, 0], [9, 5])


def test_a_set_is_frozen() -> None:
    whole = ImageSet(images=torch.zeros(0), labels=torch.zeros(0), clean_labels=torch.zeros(0), rows=torch.zeros(0))
    with pytest.raises(FrozenInstanceError):
        whole.labels = torch.ones(1)  # type: ignore[misc]
