import pytest

from torchsid.show import comparison
from torchsid.show.provenance import facts, ordered_runs

from .conftest import PLAN, Make


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


@pytest.mark.parametrize(
    ("model", "network"),
    [
        ({"extractor": "simple-cnn", "network": "cascade"}, "simple-cnn, shared by 5 stages"),
        ({"extractor": "simple-cnn", "network": "plain"}, "simple-cnn and one linear layer"),
        ({"extractor": "simple-cnn", "trunk": "resnet-18", "network": "plain"}, "resnet-18"),
        ({"extractor": "simple-cnn", "trunk": "resnet-18", "network": "staged"}, "resnet-18, cut into 5 stages"),
        ({}, "not recorded"),
    ],
)
def test_the_network_is_named(make_run: Make, model: dict[str, str], network: str) -> None:
    run = make_run(settings={f"model.{key}": value for key, value in model.items()})
    said = {fact.name: fact.values for fact in facts(ordered_runs(comparison([run])))}
    assert said["Network"] == (network,)


def test_parameters_that_are_dropped_after_training_are_told_apart(make_run: Make) -> None:
    runs = ordered_runs(comparison([make_run("a", plan=PLAN), make_run("b", label="BP")]))
    said = {fact.name: fact.values for fact in facts(runs)}
    assert said["Parameters"] == ("412,340, of which 44,000 in belief heads", "412,340")
