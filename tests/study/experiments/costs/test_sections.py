from tests.study.experiments.costs.samples import memory_result, timing_result

from torchsid.study.experiments.costs.sections import sections


def test_timing_shows_parts_bounds_and_steps() -> None:
    parts, workers, steps = sections(timing_result())
    assert [*parts.figures, *workers.figures, *steps.figures] == ["parts", "workers", "steps-shared"]
    (((columns, rows), _),) = parts.tables
    assert dict(zip(columns, rows[0], strict=True))["Phase 2"].value == "50.0\u00a0%"
    (((columns, rows), _),) = workers.tables
    cells = dict(zip(columns, rows[0], strict=True))
    assert (cells["2 workers"].value, cells["4 workers"].value, cells["L workers"].value) == ("1.33", "1.60", "1.60")
    assert cells["Any number, 1 / s"].value == "2.00"
    assert "1 / (s + (1 − s) / n)" in workers.text
    (((columns, rows), _),) = steps.tables
    assert [row[1].value for row in rows][:2] == ["SID, two-phase", "SID, streaming"]
    assert dict(zip(columns, rows[1], strict=True))["To BP, chain"].value == "0.80"


def test_memory_shows_one_figure_and_table_a_network_and_axis() -> None:
    depth, window = sections(memory_result())
    assert [*depth.figures, *window.figures] == ["depth-net", "window-cut"]
    ((table, caption),) = depth.tables
    assert caption.startswith("net, 8 images")
    assert [row[0].value for row in table.rows] == ["2", "8"]
    assert table.rows[1][1] == ("1.00 MiB", "0.12 of BP")
