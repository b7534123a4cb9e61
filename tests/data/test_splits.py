from dataclasses import FrozenInstanceError

import pytest
import torch

from torchsid.data.splits import ImageSet


def test_a_set_knows_its_length_and_gives_samples() -> None:
    images = torch.arange(12, dtype=torch.uint8).view(3, 1, 2, 2)
    whole = ImageSet(images=images, labels=torch.tensor([0, 1, 2]), clean_labels=torch.tensor([0, 1, 0]))
    part = whole.take(torch.tensor([2, 0]))
    assert (len(whole), len(part)) == (3, 2)
    assert torch.equal(part.images, images[[2, 0]])
    assert (part.labels.tolist(), part.clean_labels.tolist()) == ([2, 0], [0, 0])


def test_a_set_is_frozen() -> None:
    whole = ImageSet(images=torch.zeros(0), labels=torch.zeros(0), clean_labels=torch.zeros(0))
    with pytest.raises(FrozenInstanceError):
        whole.labels = torch.ones(1)  # type: ignore[misc]
