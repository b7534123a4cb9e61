import numpy as np
import pytest

from torchsid.show.figures.settling import _ticks, settling_bars


def test_every_bar_carries_its_count() -> None:
    found = settling_bars(np.array([[1250, 30], [0, 7]]))
    assert found.title == "97.1\u00a0% of the answers are settled at stage 1"
    assert all(f">{count}</text>" in found.svg for count in ("1,250", "30", "7"))
    assert "stage 2: 30 rightly, 7 wrongly" in found.svg


def test_many_stages_have_no_numbers() -> None:
    found = settling_bars(np.full((2, 64), 333))
    assert ">333</text>" not in found.svg


@pytest.mark.parametrize("largest", [0, 1, 9, 10, 99, 1250, 50_000])
def test_ticks_are_few_and_within(largest: int) -> None:
    ticks = _ticks(largest)
    assert ticks[0] == 0
    assert 2 <= len(ticks) <= 7
    assert max(largest, 1) / 2.5 <= ticks[-1] <= max(largest, 1)
