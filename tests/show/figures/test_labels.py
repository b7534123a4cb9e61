import pytest

from torchsid.show.figures.labels import label
from torchsid.show.svg import canvas


def placed(points: list[tuple[float, float]], *, line_at: float | None = None) -> list[tuple[str, float, float]]:
    """Return alignment and offset of each name in a square from 0 to 1."""
    with canvas(300, 300) as (figure, axes):
        axes.set(xlim=(0, 1), ylim=(0, 1))
        if line_at is not None:
            axes.axhline(line_at)
        figure.draw_without_rendering()
        label(axes, ["a name"] * len(points), points)
        return [(text.get_ha(), *text.get_position()) for text in axes.texts]


def test_a_name_stands_right_of_its_mark_or_left_at_the_edge() -> None:
    assert placed([(0.5, 0.5)]) == [("left", 8.0, 0.0)]
    assert placed([(0.99, 0.5)]) == [("right", -8.0, 0.0)]


@pytest.mark.parametrize("rival", [(0.55, 0.5), (0.65, 0.51)])
def test_a_name_covers_no_other_mark(rival: tuple[float, float]) -> None:
    assert placed([(0.5, 0.5), rival])[0] == ("right", -8.0, 0.0)


def test_names_of_one_place_part() -> None:
    assert len(set(placed([(0.5, 0.5)] * 6))) == 6


def test_a_line_is_avoided() -> None:
    assert placed([(0.5, 0.5)], line_at=0.5) == [("center", 0.0, 13.0)]
