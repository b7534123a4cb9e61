import subprocess
import sys

import pytest
import torch

from torchsid import heads


def test_every_name_has_a_description() -> None:
    assert set(heads.names()) == {"linear", "mlp", "conv", "pyramid", "attention", "trunk"}
    assert all(heads.DESCRIPTIONS[name] for name in heads.names())


def test_listing_does_not_import_torch() -> None:
    check = "import sys; from torchsid import heads; assert heads.names() and heads.DESCRIPTIONS; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", check], check=True)


def test_the_public_names_are_there() -> None:
    assert set(heads.__all__) <= set(dir(heads))
    assert all(getattr(heads, name) is not None for name in heads.__all__)


def test_a_misspelt_name_is_refused() -> None:
    with pytest.raises(ValueError, match=r"unknown head 'attenton' \(did you mean 'attention'\?\); allowed: attention, conv, "):
        heads.create("attenton", torch.zeros(2, 3, 4), 4)
