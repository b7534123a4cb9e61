from torchsid.show.figures.reliability import reliability


def test_a_curve_a_stage() -> None:
    bins = {"confidence": [0.0, 0.4, 0.9], "accuracy": [0.0, 0.5, 0.8], "count": [0, 10, 30]}
    found = reliability("Stage 1 trusts itself", {1: bins, 4: bins})
    assert found.title == "Stage 1 trusts itself"
    assert all(f">stage {stage}</text>" in found.svg for stage in (1, 4))
    assert "confidence and accuracy agree" in found.svg
