from torchsid.report import comparison
from torchsid.report.provenance import facts, ordered_runs

from .conftest import Make


def test_one_run_has_every_fact(make_run: Make) -> None:
    runs = ordered_runs(comparison([make_run(noise={"kind": "pair", "rate": 0.2, "measured": 0.198})]))
    said = {fact.name: fact.values for fact in facts(runs)}
    assert said["Version of torch"] == ("2.13.0",)
    assert said["Hardware: memory gib"] == ("31.3",)
    assert said["Git"] == ("0123456789abcdef0123456789abcdef01234567, with uncommitted changes",)
    assert said["Images: training, validation, test"] == ("1,257 / 180 / 360",)
    assert said["Label noise"] == ("pair: 20.00\u00a0% asked, 19.80\u00a0% measured",)
    assert said["SHA-256 of digits.csv.gz"] == ("cd" * 32,)
    assert said["Started"] == ("2026-08-01 10:00:00 +00:00",)


def test_runs_share_a_value_only_where_they_agree(make_run: Make) -> None:
    runs = ordered_runs(comparison([make_run("a"), make_run("b", label="Backprop", status="interrupted")]))
    said = {fact.name: fact.values for fact in facts(runs)}
    assert said["Seed"] == ("0",)
    assert said["Method"] == ("SID", "Backprop")
    assert said["Finished"][1] == "not recorded"
    assert said["Label noise"] == ("none",)
