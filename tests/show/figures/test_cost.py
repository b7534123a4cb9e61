from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from torchsid.show import comparison
from torchsid.show.figures.cost import cost_bars


def test_one_panel_for_each_quantity_that_was_recorded(make_run: Callable[..., Path]) -> None:
    rows = comparison([make_run("a"), make_run("b", label="Backprop")]).rows
    assert [drawing.title for drawing in cost_bars(rows)] == ["Training time", "Images a second", "Peak memory of the process"]
    forgetful = [replace(row, peak_memory_mib=None) for row in rows]
    assert [drawing.title for drawing in cost_bars(forgetful)] == ["Training time", "Images a second"]


def test_bars_keep_the_colours_of_their_methods(make_run: Callable[..., Path]) -> None:
    first, second = comparison([make_run("a"), make_run("b", label="Backprop")]).rows
    svg = cost_bars([replace(first, train_seconds=None), second])[0].svg
    assert "var(--s2)" in svg
    assert "var(--s1)" not in svg
    assert ">11.3 s</text>" in svg
