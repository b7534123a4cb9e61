import numpy as np

from torchsid.show.figures.fates import fate_bars

SHARES = np.array([[0.6, 0.9], [0.3, 0.05], [0.1, 0.05]])


def test_shares_are_numbered_and_the_end_told() -> None:
    found = fate_bars(SHARES, np.array([0.9, 0.95]))
    assert found.title == "Wrongly labelled: 90\u00a0% found, 5\u00a0% memorised at stage 2"
    assert all(f">{share}</text>" in found.svg for share in (60, 90, 30))
    assert ">rightly labelled: their label</text>" in found.svg
    assert "url(#f" in found.svg  # hatched, not told apart by colour alone


def test_without_rightly_labelled_images_there_is_no_reference() -> None:
    assert "rightly labelled: their" not in fate_bars(SHARES, np.full(2, np.nan)).svg
