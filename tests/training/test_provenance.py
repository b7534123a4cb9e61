import json
import subprocess
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pytest
import torch

from tests.networks import assert_untouched, snapshot
from torchsid import __version__
from torchsid.core.peak_memory import kept_bytes
from torchsid.training import RunConfig, resolve
from torchsid.training.build import set_up
from torchsid.training.optimization import autocast
from torchsid.training.provenance import git_state, kept_bytes_of, locality_of, new_manifest, provenance

CUTS = 'model.cuts=["stem", "blocks.3", "blocks.5"]'


def test_it_names_date_versions_and_hardware_and_is_json() -> None:
    found = json.loads(json.dumps(provenance()))
    assert datetime.fromisoformat(found["date"]).tzinfo is not None
    assert (found["versions"]["torchsid"], found["versions"]["torch"]) == (__version__, torch.__version__)
    assert (found["hardware"]["threads"], found["hardware"]["device"]) == (torch.get_num_threads(), "cpu")


def test_git_state_is_none_outside_a_repository_and_sees_changes_in_one(tmp_path: Path) -> None:
    assert git_state(tmp_path) is None
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b.c"]
    subprocess.run([*git, "init", "-q"], check=True)
    subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", "first"], check=True)
    clean = git_state(tmp_path)
    assert clean is not None
    assert (len(clean["commit"]), clean["dirty"]) == (40, False)
    (tmp_path / "new").touch()
    assert git_state(tmp_path) == {**clean, "dirty": True}


@pytest.mark.parametrize(
    ("recipe", "settings", "verdict", "words"),
    [
        ("digits-staged", [CUTS], "local", "12 ordered pairs"),
        ("digits-staged", [CUTS, "learner.window=2"], "windowed", "more than 2 of 4"),
        ("digits-staged", [CUTS, "learner.window=4"], "global", "4 stages reaches the input"),
        ("digits-staged-bp", [], "global", "crosses all stages"),
    ],
)
def test_the_manifest_of_a_cut_trunk_and_its_twin(recipe: str, settings: list[str], verdict: str, words: str) -> None:
    setup = set_up(resolve(recipe, ["data.limit=100", "model.width=32", *settings]), torch.device("cpu"))
    locality = locality_of(setup.learner, setup.batches.first(8))
    assert locality["verdict"] == verdict
    assert words in locality["detail"]
    manifest = new_manifest(setup, locality, "torchsid train")
    if not settings:
        assert (manifest["plan"], manifest["head_share"]) == (None, None)
        return
    assert manifest["head_share"] == setup.learner.module.plan.head_share > 0
    assert [stage["cut"] for stage in manifest["plan"]] == ["stem", "blocks.3", "blocks.5", ""]
    assert sum(stage["parameters"] + stage["head_parameters"] for stage in manifest["plan"]) == manifest["parameters"]


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_kept_bytes_are_those_of_the_first_step_and_leave_no_trace(small: Callable[..., RunConfig], precision: str) -> None:
    setup = set_up(small(f"training.precision={precision}"), torch.device("cpu"))
    learner, module = setup.learner, setup.learner.module.eval()
    before = snapshot(module)
    found = kept_bytes_of(setup)
    assert_untouched(module, before)
    batch = next(setup.batches.epoch(1))
    module.train()
    with autocast(setup.device, setup.config.training):
        assert found == kept_bytes(module, lambda: learner.backward(batch.x, batch.target)) > 0
