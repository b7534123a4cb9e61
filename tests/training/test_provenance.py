import json
import subprocess
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pytest
import torch

from torchsid import __version__
from torchsid.core.kept_bytes import kept_bytes
from torchsid.training import RunConfig, resolve
from torchsid.training.build import set_up
from torchsid.training.optimization import autocast
from torchsid.training.provenance import git_state, kept_bytes_of, locality_of, new_manifest, provenance

CUTS = 'model.cuts=["stem", "blocks.3", "blocks.5"]'


def test_it_names_date_versions_and_hardware_and_is_json() -> None:
    found = json.loads(json.dumps(provenance()))
    assert datetime.fromisoformat(found["date"]).tzinfo is not None
    assert found["versions"]["torchsid"] == __version__
    assert found["versions"]["torch"] == torch.__version__
    assert found["hardware"]["threads"] == torch.get_num_threads()
    assert found["hardware"]["device"] == "cpu"


def test_git_state_is_none_outside_a_repository_and_sees_changes_in_one(tmp_path: Path) -> None:
    assert git_state(tmp_path) is None
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b.c"]
    subprocess.run([*git, "init", "-q"], check=True)
    subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", "first"], check=True)
    clean = git_state(tmp_path)
    assert clean is not None
    assert len(clean["commit"]) == 40
    assert not clean["dirty"]
    (tmp_path / "new").touch()
    assert git_state(tmp_path) == {**clean, "dirty": True}


@pytest.mark.parametrize(
    ("recipe", "window", "verdict", "words"),
    [
        ("digits-staged", 1, "local", "12 ordered pairs"),
        ("digits-staged", 2, "windowed", "more than 2 of 4"),
        ("digits-staged", 4, "global", "4 stages reaches the input"),
        ("digits-staged-bp", None, "global", "crosses all stages"),
    ],
)
def test_the_manifest_of_a_cut_trunk_and_its_twin(recipe: str, window: int | None, verdict: str, words: str) -> None:
    settings = [CUTS, f"learner.window={window}"] if window else []
    setup = set_up(resolve(recipe, ["data.limit=100", "model.width=32", *settings]), torch.device("cpu"))
    locality = locality_of(setup.learner, setup.batches.first(8))
    assert locality["verdict"] == verdict
    assert words in locality["detail"]
    manifest = new_manifest(setup, locality, "torchsid train")
    assert manifest["parameters"] == sum(parameter.numel() for parameter in setup.learner.module.parameters())
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
    module.train()
    with autocast(setup.device, setup.config.training):
        assert found == kept_bytes(module, lambda: learner.backward(batch.x, batch.target)) > 0
