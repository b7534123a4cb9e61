"""Every plot shows the names and numbers that it was given; what is peculiar to one comes after that."""

import re
from collections.abc import Callable
from math import inf, nan
from xml.etree import ElementTree

import numpy as np
import pytest

from torchsid.show.plots.belief_paths import river, simplex
from torchsid.show.plots.curves import Line, by_stage, curves
from torchsid.show.plots.heat import heat
from torchsid.show.plots.points import Mark, Point, front, points, tradeoff
from torchsid.show.plots.timeline import timeline
from torchsid.show.svg import Drawing, standalone

NAMES = ["cat <1>", "a & b", "猫"]
THIRDS = np.full((3, 3), 1 / 3)
PLOTS: dict[str, Callable[[], Drawing]] = {
    "curves": lambda: curves("T", [Line(name, [1, 2, 4], [Point(1, 0, 2), 2.0, nan]) for name in NAMES], x="epoch"),
    "stages": lambda: by_stage("T", {name: [2.0, Point(1, 0.5, 1.5), inf] for name in NAMES}),
    "points": lambda: points("T", {name: {"SID": Point(1, 0, 2), "BP": Point(2)} for name in NAMES}),
    "heat": lambda: heat("T", np.array([[1, -0.5, nan]] * 3), NAMES, NAMES, text=[["1", "2", ""]] * 3),
    "river": lambda: river(np.array([[1 / 3] * 3, [0.6, 0.2, 0.2], [0.2, 0.2, 0.6], [0.1, 0.8, 0.1]]), NAMES, 0),
    "simplex": lambda: simplex("T", np.stack([THIRDS, np.eye(3)]), np.stack([THIRDS, np.eye(3)]), np.arange(3), NAMES),
    "timeline": lambda: timeline("T", {name: [[("forward", 0.0, 1.0)], [("backward", 1.0, 2.5)]] for name in NAMES}),
    "tradeoff": lambda: tradeoff("T", [Mark(name, 1 + k, Point(k, k - 1, k + 1)) for k, name in enumerate(NAMES)], x="x", y="y"),
}


def texts(drawing: Drawing) -> list[str]:
    return [element.text or "" for element in ElementTree.fromstring(drawing.svg).iter("text")]


@pytest.mark.parametrize("name", PLOTS)
def test_a_plot_names_what_it_shows_in_a_file_as_on_a_page(name: str) -> None:
    drawing = PLOTS[name]()
    assert set(NAMES) <= set(texts(drawing))
    assert drawing == PLOTS[name]()
    assert ElementTree.fromstring(standalone(drawing)).tag.endswith("svg")


EDGES: dict[str, Callable[[], Drawing]] = {
    "at the bottom": lambda: curves("T", [Line("SID", [1, 2], [0.0, 5.0])], x="epoch", bottom=0),
    "below the bottom": lambda: by_stage("T", {"SID": [-1.0, 3.0], "BP": [2.0, 0.0]}, bottom=0, prior=False),
    "large": lambda: curves("T", [Line("SID", [0, 100], [0.0, 100.0], sizes=[1.0, 1.0])], x="confidence", bottom=0),
    "below zero": lambda: points("T", {"a": {"": Point(-3.0)}, "b": {"": Point(0.0)}, "c": {"": Point(nan)}}, zero=True),
    "for nothing": lambda: tradeoff(
        "T", [Mark("SID", 0.0, Point(1)), Mark("BP", 2, Point(3)), Mark("no", nan, Point(1))], x="x", y="y"
    ),
}


@pytest.mark.parametrize("name", EDGES)
def test_no_mark_is_cut_at_the_edge(name: str) -> None:
    root = ElementTree.fromstring(EDGES[name]().svg)
    width, height = (float(size) for size in root.attrib["viewBox"].split()[2:])
    marks = [use for use in root.iter("use") if "s1" in use.get("style", "")]
    assert marks or name == "large"  # which are paths
    for use in marks:
        assert 0 <= float(use.attrib["x"]) <= width
        assert 0 <= float(use.attrib["y"]) <= height
    cut = [each for each in root.iter() if "clip-path" in each.attrib]
    assert "s1" not in "".join(inner.get("style", "") for each in cut for inner in each.iter())


def test_a_key_names_what_is_drawn_and_nothing_else() -> None:
    lines = [Line("gone", [1, 2], [nan, inf]), Line("empty", (), ()), Line("there", [1, 2], [nan, 1.0])]
    for logarithmic, low in (("", nan), ("y", 0.0)):
        drawn = curves("T", [*lines, Line("low", [1, 2], [low, low])], x="epoch", logarithmic=logarithmic)
        assert {"gone", "empty", "there", "low"} & set(texts(drawn)) == {"there"}
        assert "var(--s3)" in drawn.svg  # in the colour that it has beside the others
        assert "var(--s1)" not in drawn.svg
    busy = timeline("T", {"one": [[("work", 0.0, 1.0)]]})
    assert "waiting" not in texts(busy)


def test_long_names_fit_into_the_key() -> None:
    words = " ".join(["a method of many words"] * 8)
    drawn = curves("T", [Line(words, [1, 2], [1, 2]), Line("B", [1, 2], [2, 3])], x="epoch", size=(320, 230))
    assert max(map(len, texts(drawn))) <= 50
    assert " ".join(texts(drawn)).count("a method of many words") > 3


def test_one_epoch_is_one_tick() -> None:
    assert [text for text in texts(curves("T", [Line("SID", [1], [0.5])], x="epoch")) if text == "1"] == ["1"]


def test_a_river_has_axes() -> None:
    assert {"0\u00a0%", "50\u00a0%", "100\u00a0%", "prior", "stage", "30"} <= set(
        texts(river(np.full((31, 2), 0.5), ["a", "b"], 0))
    )


def test_a_series_alone_needs_no_key() -> None:
    assert "SID" not in texts(curves("T", [Line("SID", [1, 2], [1, 2])], x="epoch"))


def test_an_interval_far_wider_than_the_others_does_not_squeeze_the_lines() -> None:
    lines = [Line("SID", range(5), [Point(90 + k, 89 + k, 91 + k) for k in range(4)] + [Point(94, -500, 700)])]
    ticks = [float(text.replace("−", "-")) for text in texts(curves("T", lines, x="epoch")) if text.strip("−").isdigit()]
    assert min(tick for tick in ticks if tick > 10) >= 80


def test_a_plain_network_among_cascades_is_a_level() -> None:
    svg = by_stage("T", {"SID": [0.5, 0.9], "plain": [0.7]}, prior=False).svg
    flat = [path for path in re.findall(r'<path d="([^"]*)"[^>]*stroke: var\(--s2\)', svg) if len(path.split()) == 6]
    assert any(path.split()[2] == path.split()[5] for path in flat)


def test_many_stages_have_few_ticks_and_many_classes_are_one_picture() -> None:
    assert len([text for text in texts(by_stage("T", {"SID": np.linspace(2, 0, 257).tolist()})) if text.isdigit()]) < 20
    assert "data:image/png" in heat("T", np.eye(100), ["class"] * 100, ["class"] * 100).svg


def test_bands_of_a_river_lie_on_one_another() -> None:
    beliefs = np.array([[0.25] * 4, [0.1, 0.2, 0.3, 0.4]])
    bands = re.findall(r'points="([^"]+)"', river(beliefs, list("abcd"), 2).svg)
    last = [[float(corner.split(",")[1]) for corner in band.split()][1:3] for band in bands[1:]]  # right edge, top and bottom
    heights = [bottom - top for top, bottom in last]
    assert heights[1] / heights[0] == pytest.approx(0.4 / 0.3, rel=0.01)  # class c, then d, which has the most of the others
    assert last[1][1] == last[0][0]


def test_the_front_is_what_no_other_beats() -> None:
    marks = [Mark(str(k), x, Point(y)) for k, (x, y) in enumerate([(1, 5), (2, 3), (2, 4), (3, 3), (4, 1), (0.5, 9)])]
    assert list(front(marks, higher=False)) == [(0.5, 9), (1, 5), (2, 3), (4, 1)]
    assert list(front(marks, higher=True)) == [(0.5, 9)]


@pytest.mark.parametrize(("low", "high"), [(1.2, 1.9), (3.0, 40.0), (1e-5, 3.0)])
def test_a_logarithmic_axis_has_numbers_wherever_it_begins(low: float, high: float) -> None:
    drawn = curves("T", [Line("SID", [1, 2], [low, high])], x="epoch", ticks={}, logarithmic="y")
    assert len([text for text in texts(drawn) if text.replace(".", "").replace("e-", "").isdigit()]) >= 2


@pytest.mark.parametrize("points", [[99.9893], [0.001, 0.002]])
def test_a_square_has_the_same_axes_whatever_is_in_it(points: list[float]) -> None:
    drawn = curves("T", [Line("SID", points, points, sizes=[0.5] * len(points))], x="confidence", square=100)
    assert (texts(drawn).count("0"), texts(drawn).count("100")) == (2, 2)
