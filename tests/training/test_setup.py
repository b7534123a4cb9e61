"""From a configuration to what is trained, on which batches, and what the manifest says of it."""

import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from torchsid import SID, StagedCascade
from torchsid.core.learner import Learner
from torchsid.errors import ConfigError
from torchsid.training import resolve
from torchsid.training.provenance import git_state, new_manifest
from torchsid.training.setup import build_learner, build_task, choose_device, set_up

NARROW = "model.width=32"


def built(recipe: str, *overrides: str) -> Any:
    """The learner of a recipe, on digits."""
    config = resolve(recipe, overrides)
    torch.manual_seed(0)
    about: Any = {"num_classes": 10, "channels": 1, "image_size": 8}
    return build_learner(config, build_task(config), about, torch.device("cpu"))


def cuts(learner: Learner) -> list[str]:
    assert isinstance(learner.module, StagedCascade)
    assert learner.module.plan is not None
    return [stage.cut for stage in learner.module.plan.stages]


def test_settings_reach_network_and_method() -> None:
    settings = ["learner.alpha=[0.9, 0.1]", "learner.label_smoothing=0.1", "learner.temperature=3", "model.depth=2"]
    learner = built("digits", *settings, "model.extractor=simple-cnn", "model.init=zero")
    assert (type(learner), learner.objective.alphas(2)) == (SID, (0.9, 0.1))
    assert (learner.objective.label_smoothing, learner.objective.temperature) == (0.1, 3.0)
    torch.testing.assert_close(learner.log_beliefs(torch.randn(3, 1, 8, 8)), torch.full((3, 3, 10), 0.1).log())


@pytest.mark.parametrize("blended", [False, True], ids=["classes", "rows"])
@pytest.mark.parametrize("asked", ["balanced", "[1, 0, 2, 3, 1, 1, 1, 1, 1, 1]"])
def test_classes_count_in_the_loss_as_training_says(asked: str, blended: bool) -> None:
    augment = ["data.augment.mixup=0.5"] if blended else []
    config = resolve("digits", ["data.limit=200", "training.batch_size=50", f"training.class_weights={asked}", *augment])
    setup = set_up(config, torch.device("cpu"))
    counts = torch.bincount(setup.splits.train.target, minlength=10)
    weights = counts.sum() / (10 * counts) if asked == "balanced" else torch.tensor([1.0, 0, 2, 3, 1, 1, 1, 1, 1, 1])
    batch = next(setup.batches.of_epoch(1))
    _, target, weight = setup.batches.examples(batch)
    _, plain, none = replace(setup.batches, class_weights=None).examples(batch)
    assert none is None
    rows = plain if blended else torch.nn.functional.one_hot(plain, 10).float()
    torch.testing.assert_close(weight, rows @ weights)
    if blended:
        torch.testing.assert_close(weight.unsqueeze(-1) * target, rows * weights)
    else:
        assert torch.equal(target, plain)


@pytest.mark.parametrize("asked", ["[1, 2]", "[0, 0, 0, 0, 0, 0, 0, 0, 0, 0]"])
def test_weights_of_other_classes_are_refused(asked: str) -> None:
    with pytest.raises(ConfigError, match=r"training\.class_weights has \d+ numbers: give one for each of 10 classes, not all 0"):
        set_up(resolve("digits", ["data.limit=200", f"training.class_weights={asked}"]), torch.device("cpu"))


def test_settings_reach_a_staged_network() -> None:
    staged = built("digits-staged", NARROW, "learner.window=2")
    assert (staged.module.depth, staged.window, staged.optimizer) == (4, 2, None)
    assert cuts(built("digits-staged", NARROW, 'model.cuts=["stem", "blocks.6"]', "model.depth=3")) == ["stem", "blocks.6", ""]
    assert cuts(built("digits-staged", NARROW, "model.balance=memory")) != cuts(staged)
    twin = built("digits-staged-bp", NARROW).module  # the same trunk with the same weights
    weights = staged.module.model.state_dict()
    assert all(torch.equal(tensor, weights[name]) for name, tensor in twin.state_dict().items())


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["model.depth=30"], r"model\.network = 'staged': stages=30"),
        (['model.cuts=["blocks.1"]', "model.depth=3"], r"set depth = 2"),
        (["model.head=conv"], "stage 1, .*head 'conv'"),
        (["model.trunk=vgg-11"], "image_size=8 must be 32 or more"),
    ],
)
def test_a_trunk_that_cannot_be_cut_so_is_a_problem_of_the_configuration(overrides: list[str], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        built("digits-staged", NARROW, *overrides)


def test_compilation_takes_the_stages_and_the_heads_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled: list[nn.Module] = []
    monkeypatch.setattr(nn.Module, "compile", lambda part: compiled.append(part))
    module = built("digits-staged", NARROW, "training.compile=true").module  # by graph, though the default is another
    assert len(module.segments.modules) == module.depth
    assert compiled == [*module.segments.modules, *module.heads]


def test_compilation_names_a_trunk_that_cannot_be_traced() -> None:
    with pytest.raises(
        ConfigError, match=r"cannot be traced by torch.fx.*\(cut by graph, which training\.compile = true asks for\)"
    ):
        built("digits-staged", "model.trunk=tests.training.toys:Twisted", "model.depth=2", "training.compile=true")


def test_devices() -> None:
    assert choose_device("cpu") == torch.device("cpu")
    if not torch.cuda.is_available():
        assert choose_device("auto") == torch.device("cpu")
        with pytest.raises(ConfigError, match=r"training\.device"):
            choose_device("cuda")
        with pytest.raises(ConfigError, match=r"training\.capture = 'on' needs CUDA"):
            set_up(resolve("digits", ["training.capture=on"]), torch.device("cpu"))


CUTS = 'model.cuts=["stem", "blocks.3", "blocks.5"]'


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
    manifest = new_manifest(setup, "torchsid train")
    assert manifest["locality"]["verdict"] == verdict
    assert words in manifest["locality"]["detail"]
    assert (manifest["versions"]["torch"], manifest["hardware"]["device"]) == (torch.__version__, "cpu")
    if not settings:
        assert (manifest["plan"], manifest["head_share"]) == (None, None)
        return
    assert manifest["head_share"] == setup.learner.module.plan.head_share > 0
    assert [stage["cut"] for stage in manifest["plan"]] == ["stem", "blocks.3", "blocks.5", ""]
    assert sum(stage["parameters"] + stage["head_parameters"] for stage in manifest["plan"]) == manifest["parameters"]
