import argparse

import pytest

from torchsid.cli.arguments import positive


def test_positive() -> None:
    assert positive("12") == 12
    for text in ("0", "-1", "1.5", "", "three", "²"):
        with pytest.raises(argparse.ArgumentTypeError):
            positive(text)
