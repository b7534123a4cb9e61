"""Decoupled greedy learning: with one stage it is backpropagation, and with heads that read no belief SID with α = 1."""

import pytest
import torch

from tests.learners.trunks import DeafHead, batch, cut
from tests.networks import assert_same_gradients, gradients
from torchsid import SID, Backprop
from torchsid.learners.dgl import DGL


@pytest.mark.parametrize("form", ["vectors", "maps"])
def test_one_stage_is_backpropagation(form: str) -> None:
    learner, reference = DGL(cut(form, 1)), Backprop(cut(form, 1).model)
    out, expected = learner.backward(*batch(form)), reference.backward(*batch(form))
    torch.testing.assert_close(out.loss, expected.loss)
    assert_same_gradients(learner.module.model, gradients(reference.module), 1e-12)


@pytest.mark.parametrize("form", ["vectors", "maps"])
def test_with_heads_that_read_no_belief_it_is_sid_without_a_teacher(form: str) -> None:
    learner, reference = DGL(cut(form, head=DeafHead)), SID(cut(form, head=DeafHead), alpha=1.0)
    out, expected = learner.backward(*batch(form)), reference.backward(*batch(form))
    torch.testing.assert_close(out.stage_losses, expected.stage_losses)
    assert_same_gradients(learner.module, gradients(reference.module), 1e-12)
