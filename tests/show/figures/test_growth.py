from torchsid.show.figures.growth import growth, joined


def test_lines_that_agree_are_one() -> None:
    assert list(joined({"a": [(1, 2.0)], "b": [(1, 3.0)], "c": [(1, 2.0)]})) == [("a", "c"), ("b",)]


def test_lines_keep_their_colour_when_others_are_joined() -> None:
    lines = {"a": [(2, 1.0), (8, 1.0)], "b = b": [(2, 1.0), (8, 1.0)], "c": [(2, 2.0), (8, 30.0)]}
    drawing = growth("Kept", "stages", "MiB", lines)
    assert "a = b = b" in drawing.svg
    assert "--s3" in drawing.svg
    assert "--s2" not in drawing.svg
    assert "c: 2.00 at 2, 30.0 at 8" in drawing.svg
    assert ">10<" in drawing.svg


def test_one_point_can_be_drawn() -> None:
    assert "a: 1.00 at 2" in growth("Kept", "stages", "MiB", {"a": [(2, 1.0)]}).svg
