import torch

from torchsid.show.certificate.part import pictured, spread

from .conftest import PartOf


def test_held_out_images_are_pictured_before_those_learnt_from(part_of: PartOf) -> None:
    parts = [part_of("train", wrong=2), part_of("validation"), part_of("test")]
    assert pictured(parts).noun == "test images"
    assert pictured(parts[:2]).split == "validation"
    assert pictured(parts[:1]).noun == "training images"


def test_the_certificate_of_a_part_is_against_the_true_labels(part_of: PartOf) -> None:
    part = part_of("train", wrong=9)
    assert part.certificate is part.certificates["clean"]
    assert part.certificate.class_sizes == tuple(part.atlas.class_sizes.tolist())


def test_places_are_spread_evenly() -> None:
    every = torch.arange(100) % 2 == 1
    assert spread(every, 5) == [1, 21, 41, 61, 81]
    assert spread(every[:6], 5) == [1, 3, 5]
    assert spread(torch.zeros(3, dtype=torch.bool), 5) == []
