from torchsid.show.figures.dots import dots


def test_every_contender_has_a_colour_and_a_description() -> None:
    groups = {"net": {"SID": (0.8, 0.7, 0.9), "plain": (0.5, 0.4, 0.6)}, "other": {"plain": (12.0, 11.0, 13.0)}}
    drawing = dots("Time", "times as long", groups)
    assert "net: SID 0.800, plain 0.500; other: plain 12.0" in drawing.svg
    assert all(f">{text}<" in drawing.svg for text in ("SID", "plain", "net", "other", "1", "10", "times as long"))
    assert drawing.svg.count("var(--s2)") > drawing.svg.count("var(--s1)") > 0
