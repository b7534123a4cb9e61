"""Block-wise training: as the paper says it is DGL, as released it is deep supervision."""

import torch

from tests.learners.trunks import batch, cut
from tests.networks import assert_same_gradients, gradients
from torchsid import SID
from torchsid.learners.block_wise import BlockWise
from torchsid.learners.dgl import DGL


def test_the_papers_is_dgl_with_linear_heads() -> None:
    learner, reference = BlockWise(cut("maps", head="linear")), DGL(cut("maps", head="linear"))
    assert torch.equal(learner.backward(*batch("maps")).loss, reference.backward(*batch("maps")).loss)
    assert_same_gradients(learner.module, gradients(reference.module), 0)


def test_the_released_one_is_sid_without_a_teacher_that_reaches_back_over_all() -> None:
    learner = BlockWise(cut("maps", head="linear"), version="released")
    reference = SID(cut("maps", head="linear"), alpha=1.0, window=3)
    reference.module.independent = True
    out, expected = learner.backward(*batch("maps")), reference.backward(*batch("maps"))
    assert learner.window == 3
    torch.testing.assert_close(out.stage_losses, expected.stage_losses)
    assert_same_gradients(learner.module, gradients(reference.module), 1e-12)
