from dataclasses import replace

from torchsid.show.figures.tradeoff import COSTS, MEMORY, TIME, Mark, Tradeoff, marks, tradeoff

SID = Tradeoff(name="SID", accuracy=[0.90, 0.92], kept_bytes=30 * 2**20, seconds=5400.0)
BACKPROP = Tradeoff(name="Backprop <full>", accuracy=[0.93], kept_bytes=120 * 2**20, seconds=7200.0)
OLDER = Tradeoff(name="older run", accuracy=[0.95], kept_bytes=None, seconds=9000.0)


def test_a_panel_shows_who_has_that_cost() -> None:
    assert marks([OLDER, SID], MEMORY) == [Mark(1, "SID", 30 * 2**20, 91.0, (90.0, 92.0))]
    assert [mark.name for mark in marks([OLDER, SID], TIME)] == ["older run", "SID"]
    assert marks([replace(SID, accuracy=[])], TIME) == []


def test_both_panels_name_every_method_and_can_be_read_out() -> None:
    drawing = tradeoff([SID, BACKPROP])
    assert drawing.title == "Test accuracy against memory and training time: upper left is better"
    assert drawing.svg.count(">SID</text>") == drawing.svg.count(">Backprop &lt;full&gt;</text>") == len(COSTS)
    assert (
        "memory: SID 91.00\u00a0% for 30.0 MiB, Backprop &lt;full&gt; 93.00\u00a0% for 120 MiB; training time: SID" in drawing.svg
    )
    assert ">training time, hours</text>" in drawing.svg
    assert ">bar: worst to best seed · line: best trade-offs</text>" in drawing.svg


def test_colours_are_those_of_the_whole_report() -> None:
    svg = tradeoff([OLDER, SID, BACKPROP], [MEMORY], split="validation").svg
    assert "var(--s1)" not in svg
    assert all(f"var(--s{number})" in svg for number in (2, 3))
    assert ">validation accuracy after the last epoch, %</text>" in svg


def test_bars_need_seeds() -> None:
    assert "best seed" not in tradeoff([replace(SID, accuracy=[0.9]), BACKPROP]).svg


def test_nothing_measured_is_an_empty_figure() -> None:
    assert "<svg" in tradeoff([]).svg
