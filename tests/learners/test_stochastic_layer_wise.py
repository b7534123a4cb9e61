"""Stochastic layer-wise learning in our reading, against its equations."""

import torch
from torch.nn import functional as F

from tests.learners.trunks import batch, cut, stage_features
from tests.networks import assert_same_gradients, gradients
from torchsid.learners.stochastic_layer_wise import StochasticLayerWise


def test_losses_and_gradients_are_those_of_the_equations() -> None:
    learner = StochasticLayerWise(cut("maps", 4), weight=0.7, dimensions=6)
    cascade, (x, target) = learner.module, batch("maps")
    out = learner.backward(x, target)
    found = gradients(cascade)
    cascade.zero_grad()
    features, logits = stage_features(cascade, x)
    before = None
    for stage, (h, made) in enumerate(zip(features, logits, strict=True)):
        loss = F.cross_entropy(made, target)
        if stage < 3:
            q = (h.mean((2, 3)) @ cascade.heads[stage].projection.matrix.T).softmax(1)
            if before is not None:
                loss = loss - 0.7 * (q * before).sqrt().sum(1).log().mean()
            before = q.detach()
        torch.testing.assert_close(out.stage_losses[stage], loss.detach())
        loss.backward()
    assert_same_gradients(cascade, found, 1e-10)
    assert not any("projection" in name for name, _ in cascade.named_parameters())
