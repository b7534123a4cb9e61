from torchsid.show.figures.shares import shares


def test_shares_with_room_are_written_and_all_are_described() -> None:
    drawing = shares("Parts", ["first", "second"], {"net": {"first": 0.97, "second": 0.03}})
    assert ">97<" in drawing.svg
    assert ">3<" not in drawing.svg
    assert "net: first 97 %, second 3 %" in drawing.svg
    assert "--s1" in drawing.svg
    assert "--s2" in drawing.svg
