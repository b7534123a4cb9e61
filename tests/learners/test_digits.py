"""Every method learns a real task, the package's digits, by its recipe."""

import pytest
import torch

from torchsid.learners import LEARNERS
from torchsid.training import recipe_names, resolve
from torchsid.training.measured import Sums
from torchsid.training.setup import set_up
from torchsid.training.step import Trainer, learning_rate

RECIPES = {resolve(name).learner.name: name for name in sorted(recipe_names(), reverse=True) if name.startswith("digits")}
SMALLER = {"noprop": ["model.steps=4"], "noprop-ct": ["model.width=8", "model.steps=30"]}


@pytest.mark.slow
@pytest.mark.parametrize("method", LEARNERS.names())
def test_it_reaches_seventy_percent_of_unseen_digits_in_a_few_epochs(method: str) -> None:
    of_another = [] if method in RECIPES else [f"learner.name={method}"]  # which trains by SID as the recipe does
    setup = set_up(resolve(RECIPES.get(method, "digits-staged"), SMALLER.get(method, of_another)), torch.device("cpu"))
    trainer, test, accuracies = Trainer(setup), setup.splits.test, list[float]()
    while len(accuracies) < 8 and max(accuracies, default=0) < 0.7:
        setup.learner.begin_epoch(len(accuracies) + 1)
        trainer.begin(0, Sums())
        for step, batch in enumerate(setup.batches.of_epoch(len(accuracies) + 1), len(accuracies) * setup.steps):
            trainer.take(batch, learning_rate(step, setup.steps * setup.config.training.epochs, setup.config.optimizer))
        setup.learner.module.eval()
        answers = setup.learner.log_beliefs(setup.batches.prepare(test.inputs[:]))[-1].argmax(-1)
        accuracies.append(float((answers == test.target[:]).double().mean()))
    assert accuracies[-1] > 0.7, accuracies
