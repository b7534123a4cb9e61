import pytest
import torch

from torchsid.training import resolve
from torchsid.training.manifest import locality_of, new_manifest
from torchsid.training.setup import set_up

CUTS = 'model.cuts=["stem", "blocks.3", "blocks.5"]'


@pytest.mark.parametrize(
    ("recipe", "window", "verdict", "words"),
    [
        ("digits-staged", 1, "local", "12 ordered pairs"),
        ("digits-staged", 2, "windowed", "more than 2 of 4"),
        ("digits-staged", 4, "global", "4 stages reaches the input"),
        ("digits-staged-bp", 1, "global", "one loss"),
    ],
)
def test_the_manifest_of_a_cut_trunk_and_its_twin(recipe: str, window: int, verdict: str, words: str) -> None:
    config = resolve(recipe, ["data.limit=100", "model.width=32", CUTS, f"learner.window={window}"])
    setup = set_up(config, torch.device("cpu"))
    locality = locality_of(setup.learner, *setup.batches.first(8))
    assert locality["verdict"] == verdict
    assert words in locality["detail"]
    manifest = new_manifest(setup, locality, "torchsid train")
    if recipe == "digits-staged-bp":
        assert manifest["plan"] is None
        return
    plan = manifest["plan"]
    assert [stage["cut"] for stage in plan] == ["stem", "blocks.3", "blocks.5", ""]
    assert all(stage["operations"] > 0 and stage["kept_bytes"] > 0 and stage["head"] for stage in plan)
    assert sum(stage["parameters"] + stage["head_parameters"] for stage in plan) == manifest["parameters"]
