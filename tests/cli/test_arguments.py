import argparse

import pytest

from torchsid.cli.arguments import positive


def test_positive() -> None:
    assert positive("12") == 12


@pytest.mark.parametrize("text", ["0", "-1", "1.5", "", "three", "²"])
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="1 or more"):
        positive(text)
