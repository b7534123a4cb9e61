"""Block-local learning in our reading: its gradient is that of the marginal likelihood, and with sure messages it is DGL."""

import torch

from tests.learners.trunks import batch, cut, stage_features
from tests.networks import assert_same_gradients, gradients
from torchsid.learners.block_local import BlockLocal
from torchsid.learners.dgl import DGL


def test_losses_and_gradients_are_those_of_the_likelihood_of_the_label() -> None:
    learner = BlockLocal(cut(stages=4), trust=1.5)
    cascade, (x, target) = learner.module, batch()
    with torch.no_grad():
        for head in cascade.heads[:-1]:
            head.feedback.logits.add_(torch.randn(3, 3, generator=torch.Generator().manual_seed(1), dtype=x.dtype))
    out = learner.backward(x, target)
    found = gradients(cascade)
    cascade.zero_grad()
    _, logits = stage_features(cascade, x)
    loss = torch.nn.functional.cross_entropy(logits[3], target)
    loss.backward()
    message = torch.eye(3, dtype=x.dtype)
    for stage in (2, 1, 0):
        message = cascade.heads[stage].feedback.logits.softmax(1) @ message.detach()  # [z, y]
        loss = -(logits[stage].softmax(1) @ message)[range(len(x)), target].log().mean()
        torch.testing.assert_close(out.stage_losses[stage], loss.detach())
        loss.backward()
    assert_same_gradients(cascade, found, 1e-10)


def test_with_messages_that_are_sure_it_is_dgl() -> None:
    learner, reference = BlockLocal(cut(), trust=60.0), DGL(cut())
    torch.testing.assert_close(learner.backward(*batch()).loss, reference.backward(*batch()).loss)
    found, expected = gradients(learner.module), gradients(reference.module)
    assert all(torch.allclose(found[name], gradient, atol=1e-12) for name, gradient in expected.items())
