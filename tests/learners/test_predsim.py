"""Prediction and similarity matching: against the equations, and without similarity it is DGL."""

import pytest
import torch
from torch import Tensor

from tests.learners.trunks import BATCH, CLASSES, batch, cut, stage_features
from tests.networks import assert_same_gradients, gradients
from torchsid.learners.dgl import DGL
from torchsid.learners.predsim import PredSim


def similarity(vectors: Tensor) -> Tensor:
    """The cosines, pair by pair."""
    rows = [vector - vector.mean() for vector in vectors]
    return torch.stack([torch.stack([a @ b / (a.norm() * b.norm()) for b in rows]) for a in rows])


@pytest.mark.parametrize("form", ["vectors", "maps"])
def test_losses_and_gradients_are_those_of_the_equations(form: str) -> None:
    learner = PredSim(cut(form, head="linear"), beta=0.9)
    cascade, (x, target) = learner.module, batch(form)
    out = learner.backward(x, target)
    found = gradients(cascade)
    cascade.zero_grad()
    features, logits = stage_features(cascade, x)
    wanted = similarity(torch.nn.functional.one_hot(target, CLASSES).double())
    for stage, (h, made) in enumerate(zip(features, logits, strict=True)):
        loss = torch.nn.functional.cross_entropy(made, target)
        if stage < 2:
            f = cascade.heads[stage].similarity(h)
            if form == "maps":
                f = torch.stack([torch.stack([channel.std() for channel in sample]) for sample in f])
            loss = 0.1 * loss + 0.9 * (similarity(f) - wanted).square().sum() / BATCH**2
        torch.testing.assert_close(out.stage_losses[stage], loss.detach())
        loss.backward()
    assert_same_gradients(cascade, found, 1e-10)


def test_without_similarity_it_is_dgl() -> None:
    learner, reference = PredSim(cut(head="linear"), beta=0.0), DGL(cut(head="linear"))
    assert torch.equal(learner.backward(*batch()).loss, reference.backward(*batch()).loss)
    assert_same_gradients(learner.module, gradients(reference.module), 0)


def test_a_model_that_answers_at_every_token_is_refused() -> None:
    cascade = cut()
    cascade.positions = "tokens"
    with pytest.raises(ValueError, match="PredSim answers once a sample"):
        PredSim(cascade)
