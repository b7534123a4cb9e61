import pytest
from tests.study.fake import PLAN, Make

from torchsid.study.report.provenance import cut_table, entries, provenance_table
from torchsid.study.runs import load_run


def test_a_run_tells_all_of_its_manifest(make_run: Make) -> None:
    said = dict(entries(load_run(make_run(noise={"kind": "pair", "rate": 0.2, "measured": 0.198})).manifest))
    assert said["versions.torch"] == "2.13.0"
    assert said["hardware.memory_gib"] == "31.3"
    assert said["git.dirty"] == "True"
    assert said["data.train"] == "1257"
    assert said["data.noise.measured"] == "0.198"
    assert said["data.fingerprint.digits.csv.gz"] == "cd" * 32
    assert not any(name.startswith(("command", "locality", "data.class_names")) for name in said)


def test_what_holds_for_all_runs_is_said_once(make_run: Make) -> None:
    runs = [load_run(make_run("a")), load_run(make_run("b", label="Backprop", status="interrupted"))]
    rows = {row[0].value: [cell.value for cell in row[1:]] for row in provenance_table(runs).rows}
    assert rows["recipe"] == ["digits", ""]
    assert rows["label"] == ["SID", "Backprop"]
    assert rows["finished"][1] == "–"


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
