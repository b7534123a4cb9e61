import re
from typing import Any

from torchsid.show.figures.timeline import timeline


def shown(contender: str, workers: list[list[list[Any]]]) -> dict[str, Any]:
    return {"contender": contender, "workers": workers}


SID = shown(
    "sid pipeline",
    [
        [["forward", 0.0, 0.4], ["backward", 0.4, 0.9], ["update", 0.9, 1.0], ["forward", 1.0, 1.4]],
        [["forward", 1.0, 1.4], ["backward", 1.4, 1.9], ["update", 1.9, 2.0]],
    ],
)
GPIPE = shown("gpipe, 4 micro-batches", [[["forward", 0.0, 0.5], ["backward", 2.0, 2.5]], [["forward", 0.5, 1.0]]])


def bars(svg: str, colour: str) -> int:
    """How many bars of a colour there are, apart from the one in the key."""
    (groups,) = [re.findall(r"PolyCollection|<path[^>]*fill: var\(--" + colour + r"\)", svg)]
    return len(groups) - 1


def test_a_lane_a_worker_and_a_bar_an_interval() -> None:
    drawing = timeline("resnet-18", 2, [SID, GPIPE])
    assert drawing.title == "resnet-18: 2 training steps, worker by worker"
    for text in ("sid pipeline", "gpipe, 4 micro-batches", "forward", "backward", "update", "waiting", "seconds"):
        assert drawing.svg.count(f">{text}</text>") == 1
    assert drawing.svg.count(">worker 2</text>") == 2
    assert "sid pipeline ends after 2 s; gpipe, 4 micro-batches ends after 2.5 s" in drawing.svg
    assert bars(drawing.svg, "s2") == 3


def test_all_contenders_share_one_axis() -> None:
    one, both = timeline("m", 2, [SID]).svg, timeline("m", 2, [SID, GPIPE]).svg
    assert one.count(">seconds</text>") == both.count(">seconds</text>") == 1
    ends = [float(text) for text in re.findall(r">(\d\.\d)</text>", both)]
    assert max(ends) == 2.5


def test_nothing_measured_is_no_failure() -> None:
    assert "Nothing measured" in timeline("m", 4, []).svg
