import pytest
from tests.study.fake import PLAN, Make

from torchsid.study.report.provenance import cut_table, facts, provenance_table
from torchsid.study.runs import load_run


def test_one_run_has_every_fact(make_run: Make) -> None:
    said = facts(load_run(make_run(noise={"kind": "pair", "rate": 0.2, "measured": 0.198})))
    assert said["Version of torch"] == "2.13.0"
    assert said["Hardware: memory gib"] == "31.3"
    assert said["Git"].startswith("0123456789abcdef0123456789abcdef01234567")
    assert said["Samples"] == "1,257 train / 180 validation / 360 test"
    assert "19.80" in said["Label noise"]
    assert said["SHA-256 of digits.csv.gz"] == "cd" * 32
    assert said["Started"] == "2026-08-01 10:00:00 +00:00"


def test_what_holds_for_all_runs_is_said_once(make_run: Make) -> None:
    runs = [load_run(make_run("a")), load_run(make_run("b", label="Backprop", status="interrupted"))]
    rows = {row[0].value: [cell.value for cell in row[1:]] for row in provenance_table(runs).rows}
    assert rows["Seed"] == ["0", ""]
    assert rows["Method"] == ["SID", "Backprop"]
    assert rows["Finished"][1] == "not recorded"


@pytest.mark.parametrize("plan", [None, PLAN])
def test_a_trunk_that_was_cut_has_a_row_a_stage(make_run: Make, plan: list[dict[str, object]] | None) -> None:
    found = cut_table("SID", load_run(make_run(plan=plan)).manifest)
    if plan is None:
        assert found is None
        return
    assert found is not None
    assert [row[1].value for row in found.rows] == ["layer1", "layer2.0", "the model"]
    assert all(len(row) == len(found.columns) for row in found.rows)
    assert found.rows[0][2].value == "64×8×8"
    assert found.rows[2][-1].value == "–"  # its own head costs nothing more
