import pytest

from torchsid import models


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(
        ValueError, match=r"unknown extractor 'simple_cnn' \(did you mean 'simple-cnn'\?\); allowed: mlp, simple-cnn"
    ):
        models.create("simple_cnn", in_channels=1, image_size=8, feature_dim=4)
