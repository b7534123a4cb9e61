import subprocess
import sys

import pytest

from torchsid import models


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(
        ValueError, match=r"unknown extractor 'simple_cnn' \(did you mean 'simple-cnn'\?\); allowed: mlp, simple-cnn"
    ):
        models.create("simple_cnn", in_channels=1, image_size=8, feature_dim=4)


def test_extractors_and_classifiers_can_share_a_name_but_are_not_mixed() -> None:
    assert models.names() == ("simple-cnn", "mlp") == tuple(models.DESCRIPTIONS)
    assert models.classifier_names() == ("simple-cnn", "mlp", "resnet-18", "resnet-18-imagenet", "vgg-11", "vit-tiny")
    assert hasattr(models.create("mlp", in_channels=1, image_size=8, feature_dim=4), "feature_dim")
    assert hasattr(models.classifier("mlp", num_classes=2, in_channels=1, image_size=8), "head")


def test_listing_does_not_import_torch() -> None:
    code = "import sys, torchsid.models as m; assert m.names() and m.classifier_names(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
