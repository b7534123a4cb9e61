from torchsid.show import comparison
from torchsid.show.cuts import cuts

from .conftest import PLAN, Make


def test_the_table_has_a_row_a_stage_and_says_what_the_heads_add(make_run: Make) -> None:
    runs = [make_run("a", depth=3, plan=PLAN), make_run("b", depth=3, plan=PLAN, seed=1), make_run("c", label="BP", depth=1)]
    (found,) = cuts(comparison(runs))
    assert found.method == "SID"
    assert found.sentence.startswith("SID: the trunk is cut into 3 stages. The belief heads add 3.8\u00a0% to its multiply-adds")
    assert "44,000 parameters" in found.sentence
    rows = [tuple(cell.value for cell in row) for row in found.table.rows]
    assert all(len(row) == len(found.table.columns) for row in rows)
    assert rows[0] == ("1", "layer1", "64×8×8", "75,840", "77.27 M", "1,536 KiB", "conv", "38,000", "7.60 M")
    assert rows[2] == ("3", "the model", "10", "75,840", "77.27 M", "1,536 KiB", "the model's own", "–", "–")


def test_networks_that_were_not_cut_have_none(make_run: Make) -> None:
    assert cuts(comparison([make_run()])) == ()
