"""AugLocal is its heads: other ones are refused, and with one stage it is backpropagation."""

import pytest
import torch

from tests.learners.trunks import batch, cut
from tests.networks import assert_same_gradients, gradients
from torchsid import Backprop
from torchsid.learners.auglocal import AugLocal


def test_its_heads_are_copies_of_the_trunk_and_no_others() -> None:
    with pytest.raises(ValueError, match=r"method of the head 'augmented', not of 'mlp': set model\.head = 'augmented'"):
        AugLocal(cut())
    learner = AugLocal(cut("maps", ["0", "1"], head="augmented", head_settings={"layers": 2, "taper": 1.0}))
    copies = [[next(part.parameters()).shape for part in head.body.layers] for head in learner.module.heads[:-1]]
    assert copies == [[(8, 8, 3, 3), (9, 8, 3, 3)], [(9, 8, 3, 3)]]  # the changes of shape at 1 and 3; then one less


def test_one_stage_is_backpropagation() -> None:
    learner, reference = AugLocal(cut(stages=1)), Backprop(cut(stages=1).model)
    torch.testing.assert_close(learner.backward(*batch()).loss, reference.backward(*batch()).loss)
    assert_same_gradients(learner.module.model, gradients(reference.module), 1e-12)
