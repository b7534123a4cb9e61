"""InfoPro: without reconstruction it is DGL, and its contrast is the one that the paper writes out."""

import pytest
import torch
from torch import Tensor

from tests.learners.trunks import BATCH, batch, cut, stage_features
from tests.networks import assert_same_gradients, gradients
from torchsid.learners.dgl import DGL
from torchsid.learners.infopro import InfoPro, Range


@pytest.mark.parametrize("form", ["vectors", "maps"])
def test_without_reconstruction_and_with_the_cross_entropy_it_is_dgl(form: str) -> None:
    learner = InfoPro(cut(form), task="cross-entropy", reconstruction=[0.0, 0.0], classification=[1.0, 1.0])
    reference = DGL(cut(form))
    assert torch.equal(learner.backward(*batch(form)).loss, reference.backward(*batch(form)).loss)
    assert_same_gradients(learner.module, gradients(reference.module), 0)


def supervised_contrast(z: Tensor, target: Tensor, temperature: float) -> Tensor:
    """As the paper writes it, sample by sample."""
    z = z / z.norm(dim=1, keepdim=True)
    total = torch.zeros((), dtype=z.dtype)
    for a in range(len(z)):
        rest = [c for c in range(len(z)) if c != a]
        below = sum(torch.exp(z[a] @ z[c] / temperature) for c in rest)
        positive = [b for b in rest if target[b] == target[a]]
        for b in positive:
            total = total - torch.log(torch.exp(z[a] @ z[b] / temperature) / below) / len(positive) / len(z)
    return total


@pytest.mark.parametrize("form", ["vectors", "maps"])
def test_losses_and_gradients_are_those_of_the_equations(form: str) -> None:
    learner = InfoPro(cut(form), reconstruction=[3.0, 1.0], classification=[0.5, 2.0], temperature=0.2)
    cascade, (x, target) = learner.module, batch(form)
    out = learner.backward(x, target)
    found = gradients(cascade)
    cascade.zero_grad()
    low, high = (bound(x.transpose(0, 1).flatten(1), 1).view(-1, *[1] * (x.dim() - 2)) for bound in (torch.amin, torch.amax))
    image = (x - low) / (high - low)
    features, logits = stage_features(cascade, x)
    for stage, (lambda1, lambda2) in enumerate([(3.0, 0.5), (1.0, 2.0)]):
        head = cascade.heads[stage]
        made = head.decoder(features[stage]).sigmoid()
        reconstruction = -(image * made.log() + (1 - image) * (1 - made).log()).mean()
        contrast = supervised_contrast(head.projection(features[stage]), target, 0.2)
        probe = torch.nn.functional.cross_entropy(head(features[stage].detach(), cascade.prior(features[stage])), target)
        loss = lambda1 * reconstruction + lambda2 * contrast + probe
        torch.testing.assert_close(out.stage_losses[stage], loss.detach())
        loss.backward()
    torch.nn.functional.cross_entropy(logits[-1], target).backward()
    assert_same_gradients(cascade, found, 1e-10)


def test_a_sample_alone_in_its_class_has_no_contrast_and_none_alone_in_the_batch() -> None:
    learner = InfoPro(cut(), reconstruction=[0.0, 0.0])
    x, _ = batch()
    learner.backward(x, torch.tensor([0, 0, 1, 2, 2, 2]), weight=torch.eye(BATCH)[0])
    assert all(gradient.isfinite().all() for gradient in gradients(learner.module).values() if gradient is not None)
    assert not any(projection[1].weight.grad.any() for projection in learner.projections)


def test_inputs_are_brought_between_nothing_and_one_by_the_range_seen_so_far() -> None:
    seen = Range(torch.Size([2, 1, 1]))
    assert torch.equal(seen(torch.ones(1, 2, 1, 1)), torch.full((1, 2, 1, 1), 0.5))
    x = torch.tensor([[-2.0, 5.0], [2.0, 5.0], [9.0, 9.0]]).view(3, 2, 1, 1)
    seen.follow(x, torch.tensor([0.5, 0.5, 0.0]))
    assert seen(x).flatten().tolist() == [0.0, 0.5, 1.0, 0.5, 1.0, 0.5]


def test_what_it_cannot_reconstruct_is_refused() -> None:
    cascade = cut()
    cascade.plan = None
    with pytest.raises(ValueError, match=r"reconstructs inputs of one tensor.*set reconstruction = \[0.0, 0.0\]"):
        InfoPro(cascade)
    with pytest.raises(ValueError, match=r"classification=.*give two numbers"):
        InfoPro(cut(), classification=[1.0])
