import pytest

from torchsid.planner.speed import on_paper

from .samples import DEVICE, even_trace


def test_seconds_are_operations_over_what_the_device_reaches() -> None:
    speed = on_paper(even_trace(3), DEVICE, "float32", 0.5)
    assert speed.forward == pytest.approx([1e6 / 0.5e12] * 3)
    assert speed.trunk == pytest.approx([3e6 / 0.5e12] * 3)
    assert speed.heads == pytest.approx([3e4 / 0.5e12, 3e4 / 0.5e12, 0])
    assert on_paper(even_trace(3), DEVICE, "bfloat16", 0.5).forward == pytest.approx([0.5e6 / 0.5e12] * 3)
