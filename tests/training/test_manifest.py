from collections.abc import Callable

import pytest
import torch

from torchsid.core.kept_bytes import kept_bytes
from torchsid.training import RunConfig, resolve
from torchsid.training.manifest import kept_bytes_of, locality_of, new_manifest
from torchsid.training.setup import set_up

CUTS = 'model.cuts=["stem", "blocks.3", "blocks.5"]'


@pytest.mark.parametrize(
    ("recipe", "window", "verdict", "words"),
    [
        ("digits-staged", 1, "local", "12 ordered pairs"),
        ("digits-staged", 2, "windowed", "more than 2 of 4"),
        ("digits-staged", 4, "global", "4 stages reaches the input"),
        ("digits-staged-bp", 1, "global", "crosses all stages"),
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
        assert (manifest["plan"], manifest["head_share"]) == (None, None)
        return
    assert manifest["head_share"] == setup.learner.module.plan.head_share > 0
    plan = manifest["plan"]
    assert [stage["cut"] for stage in plan] == ["stem", "blocks.3", "blocks.5", ""]
    assert all(stage["operations"] > 0 and stage["kept_bytes"] > 0 and stage["head"] for stage in plan)
    assert sum(stage["parameters"] + stage["head_parameters"] for stage in plan) == manifest["parameters"]


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_kept_bytes_are_those_of_the_first_step_and_leave_no_trace(small: Callable[..., RunConfig], precision: str) -> None:
    setup = set_up(small(f"training.precision={precision}"), torch.device("cpu"))
    learner, module = setup.learner, setup.learner.module.eval()
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    generator = torch.get_rng_state()
    found = kept_bytes_of(setup)
    assert all(torch.equal(tensor, before[name]) for name, tensor in module.state_dict().items())
    assert torch.equal(torch.get_rng_state(), generator)
    assert not any(part.training for part in module.modules())
    assert all(parameter.grad is None for parameter in module.parameters())

    batch = next(setup.batches.epoch(1))
    assert len(batch.target) == 64
    module.train()
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
        assert found == kept_bytes(module, lambda: learner.backward(batch.x, batch.target)) > 0


def test_a_cut_trunk_keeps_less_than_its_twin() -> None:
    settings = ["data.limit=100", "model.width=32", CUTS]
    sid, backprop = (
        kept_bytes_of(set_up(resolve(recipe, settings), torch.device("cpu"))) for recipe in ("digits-staged", "digits-staged-bp")
    )
    assert sid < 0.7 * backprop
