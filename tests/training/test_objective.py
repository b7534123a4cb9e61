"""α over the epochs: the right one in each, also in a run that was interrupted."""

import copy
import os
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torchsid.training.objective import begin_epoch, objective_in

from tests.networks import small_batch, small_cascade
from torchsid import SID, Backprop, LocalObjective
from torchsid.core.learner import LocalLearner
from torchsid.training import Interrupted, RunConfig, RunDirectory, train
from torchsid.training import loop as loop_module
from torchsid.training.build import build_learner, build_network
from torchsid.training.descent import objective_of

from .conftest import Recorder

Small = Callable[..., RunConfig]
EPOCHS = ["learner.alpha_over=epochs", "training.epochs=5"]


@pytest.mark.parametrize(
    ("alpha", "expected"),
    [("linear:1.0:0.2", [1.0, 0.8, 0.6, 0.4, 0.2]), ("cosine:0.2:1.0", [0.2, 0.31716, 0.6, 0.88284, 1.0])],
)
def test_the_first_epoch_has_the_first_and_the_last_the_last(small: Small, alpha: str, expected: list[float]) -> None:
    config = small(*EPOCHS, f"learner.alpha={alpha}", "learner.temperature=2", "learner.label_smoothing=0.1")
    objectives = [objective_in(config, epoch) for epoch in range(1, 6)]
    assert [objective.alpha for objective in objectives] == pytest.approx(expected, abs=1e-5)
    assert {(each.temperature, each.label_smoothing, each.direction) for each in objectives} == {(2.0, 0.1, "forward")}
    assert objective_of(config.learner) == replace(objectives[-1], temperature=1.0)  # what is certified
    finished = build_learner(build_network(config, num_classes=10, channels=1, image_size=8), config)
    assert isinstance(finished, SID)
    assert finished.objective == objectives[-1]


def test_over_the_stages_every_epoch_is_the_same(small: Small) -> None:
    config = small("learner.alpha=linear:1.0:0.2")
    assert objective_in(config, 1) == objective_in(config, 2) == LocalObjective(alpha="linear:1.0:0.2")


def test_other_methods_have_no_such_objective(small: Small) -> None:
    learner = Backprop(small_cascade())
    begin_epoch(learner, small(*EPOCHS, "learner.alpha=linear:1.0:0.2"), 1)
    assert not isinstance(learner, LocalLearner)
    assert not hasattr(learner, "objective")


@pytest.mark.parametrize("schedule", ["streaming", "two_phase", "batched"])
def test_a_resumed_training_has_the_losses_of_the_uninterrupted_one(small: Small, schedule: str) -> None:
    """In float64, against learners whose α is set by hand; the second half begins from weights and epoch alone."""
    config, batch, network = small(*EPOCHS, "learner.alpha=linear:1.0:0.2"), small_batch(), small_cascade()

    def epochs(learner: SID, optimizer: torch.optim.Optimizer, which: range) -> list[torch.Tensor]:
        losses = []
        for epoch in which:
            begin_epoch(learner, config, epoch)
            for _ in range(3):
                optimizer.zero_grad()
                losses.append(learner.backward(*batch).stage_losses)
                optimizer.step()
        return losses

    def fresh(weights: dict[str, Any], alpha: float = 0.5) -> tuple[SID, torch.optim.Optimizer]:
        cascade = copy.deepcopy(network)
        cascade.load_state_dict(weights)
        return SID(cascade, schedule=schedule, alpha=alpha), torch.optim.SGD(cascade.parameters(), lr=0.5)

    first = fresh(network.state_dict())
    whole = torch.stack(epochs(*first, range(1, 6)))
    half = fresh(network.state_dict())
    before = epochs(*half, range(1, 4))
    after = epochs(*fresh(half[0].module.state_dict()), range(4, 6))
    assert torch.equal(torch.stack([*before, *after]), whole)

    by_hand, weights = [], network.state_dict()
    for alpha in (1.0, 0.8, 0.6, 0.4, 0.2):
        learner, optimizer = fresh(weights, alpha)
        for _ in range(3):
            optimizer.zero_grad()
            by_hand.append(learner.backward(*batch).stage_losses)
            optimizer.step()
        weights = learner.module.state_dict()
    torch.testing.assert_close(torch.stack(by_hand), whole, atol=1e-12, rtol=1e-12)


STAGED = ["model.network=staged", "model.trunk=mlp", "model.width=32", "training.conflict=false"]
STAGED += ["model.extractor=simple-cnn", "model.feature_dim=128", "model.hidden=256"]  # what a staged network does not read


@pytest.mark.parametrize("settings", [[], STAGED], ids=["shared", "staged"])
def test_every_step_has_the_alpha_of_its_epoch(
    small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: list[str]
) -> None:
    config = small(*settings, "learner.alpha_over=epochs", "learner.alpha=linear:0.9:0.3", "training.epochs=3")
    used: list[float] = []
    take = loop_module.training_step

    def listen(learner: SID, *others: object) -> object:
        used.extend(set(learner.objective.alphas(2)))
        return take(learner, *others)  # type: ignore[arg-type]

    monkeypatch.setattr(loop_module, "training_step", listen)
    monkeypatch.setattr(loop_module, "_REPORT_SECONDS", -1.0)
    stop = Recorder(lambda *now: os.kill(os.getpid(), signal.SIGINT) if now == (2, 2) else None)
    with pytest.raises(Interrupted):
        train(config, tmp_path / "run", reporter=stop)
    train(config, tmp_path / "run", resume=True)
    assert used == pytest.approx([0.9] * 4 + [0.6] * 4 + [0.3] * 4)
    assert RunDirectory(tmp_path / "run").manifest()["status"] == "finished"
