import pytest

from torchsid.bench.recorder import PARTS, bound, shares


def test_shares_add_up_whatever_the_parts_are_called_in_a_schedule() -> None:
    two_phases = {"phase 1": 1.0, "extractor": 2.0, "phase 2": 4.0, "update": 1.0, "extractor update": 2.0}
    assert shares(two_phases) == {"phase 1": 0.1, "extractor": 0.4, "phase 2": 0.4, "update": 0.1}
    streamed = shares({"forward": 1.0, "backward": 2.0, "update": 1.0})
    assert streamed == {"phase 1": 0.25, "phase 2": 0.5, "update": 0.25}
    assert set(shares(two_phases)) == set(PARTS)


def test_the_bound_is_amdahls() -> None:
    assert bound(1.0, 64) == 1.0
    assert bound(0.25, 3) == pytest.approx(2.0)
