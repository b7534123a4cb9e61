import pytest
import torch

from torchsid.core.threads import threads


def test_threads_are_as_before_afterwards_even_after_an_error() -> None:
    before = torch.get_num_threads()
    with threads(before + 1):
        assert torch.get_num_threads() == before + 1
    assert torch.get_num_threads() == before

    def fail() -> None:
        with threads(before + 2):
            raise RuntimeError("out of luck")

    with pytest.raises(RuntimeError, match="luck"):
        fail()
    assert torch.get_num_threads() == before
