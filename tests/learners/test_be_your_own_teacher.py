"""Be your own teacher: against the losses written out, differentiated through the whole network."""

import pytest
import torch
from torch.nn import functional as F

from tests.learners.trunks import batch, cut
from tests.networks import assert_same_gradients, gradients
from torchsid.learners.be_your_own_teacher import BeYourOwnTeacher


def test_losses_and_gradients_are_those_of_the_equations() -> None:
    learner = BeYourOwnTeacher(cut("maps", ["0", "2"], head="trunk"), alpha=0.3, temperature=2.0, beta=0.2)
    cascade, (x, target) = learner.module, batch("maps")
    out = learner.backward(x, target)
    found = gradients(cascade)
    cascade.zero_grad()
    features = list[torch.Tensor]()
    cascade.run(x, lambda _, tensors: features.append(tensors[0]) or tensors)
    flat = cascade.model[3](features[1]).flatten(1)
    prior, teacher = cascade.prior(x), (features[-1].detach() / 2).softmax(1)
    losses = list[torch.Tensor]()
    for head, h in zip(cascade.heads[:-1], features, strict=False):
        logits = head(h, prior)
        soft = F.kl_div((logits / 2).log_softmax(1), teacher, reduction="batchmean")
        hint = (head.hint(head.hidden(h)) - flat.detach()).square().sum(1).mean()
        losses.append(0.7 * F.cross_entropy(logits, target) + 0.3 * 4 * soft + 0.2 * hint)
    losses.append(0.7 * F.cross_entropy(features[-1], target))
    torch.testing.assert_close(out.stage_losses, torch.stack(losses).detach())
    sum(losses).backward()
    assert_same_gradients(cascade, found, 1e-10)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of what torch.compile imports
def test_a_hint_needs_a_linear_layer_at_the_end_that_can_be_looked_at() -> None:
    cascade = cut()
    cascade.own_readout = ""
    with pytest.raises(ValueError, match="set beta = 0"):
        BeYourOwnTeacher(cascade)
    compiled = cut(by="graph")
    compiled.compile_stages()  # at the first call, which does not come
    with pytest.raises(ValueError, match="compiled stages do not show: set beta = 0"):
        BeYourOwnTeacher(compiled)
    assert BeYourOwnTeacher(cascade, beta=0.0).backward(*batch()).stage_losses.shape == (3,)
