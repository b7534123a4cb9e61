from typing import Any

from torchsid.show.figures.pareto import TITLE, front, pareto


def row(contender: str, kept: float | None, step: float | None, **about: str | int) -> dict[str, Any]:
    usual = {"model": "resnet-18", "blocks": None, "variant": "float32"}
    return {**usual, **about, "contender": contender, "kept_over_backprop": kept, "step_over_backprop": step}


ROWS = [
    row("backprop", 1.0, 1.0),
    row("checkpointing", 0.35, 1.31),
    row("accumulation", 0.26, 1.05),
    row("deep supervision", 1.04, 1.08),
    row("sid-2", 0.71, 0.97),
    row("sid-4", 0.35, 0.96),
    row("sid-8", 0.29, 0.98),
]


def test_the_front_is_what_nothing_beats() -> None:
    assert front([(1, 1), (0.3, 1.3), (0.5, 0.9), (0.4, 0.9), (0.4, 0.95), (0.2, 1.4)]) == [(0.2, 1.4), (0.3, 1.3), (0.4, 0.9)]
    assert front([(1, 1), (1, 1)]) == [(1, 1)]


def test_every_contender_is_named_beside_its_mark() -> None:
    drawing = pareto(ROWS)
    assert drawing.title == TITLE
    assert all(drawing.svg.count(f">{entry['contender']}</text>") == 1 for entry in ROWS)
    assert "sid-8 0.29 of the bytes, 0.98 of the time" in drawing.svg


def test_a_panel_for_each_model_and_variant() -> None:
    others = [row("backprop", 1.0, 1.0, model=name) for name in ("vgg-11", "vit-tiny")]
    svg = pareto([*ROWS, *others, row("backprop", 1.0, 1.0, variant="bfloat16"), row("backprop", 1.0, 1.0, blocks=8)]).svg
    for title in ("resnet-18", "vgg-11", "vit-tiny", "resnet-18, bfloat16", "resnet-18, 8 blocks"):
        assert f">{title}</text>" in svg


def test_what_was_not_measured_is_left_out() -> None:
    svg = pareto([row("backprop", 1.0, 1.0), row("sid-4", None, None)]).svg
    assert "sid-4" not in svg
    assert "backprop" in svg
    assert "<svg" in pareto([row("sid-4", None, None)]).svg
