"""PETRA: with frozen parameters it is backpropagation, and with moving ones the published pipeline, tick by tick."""

import copy
from collections import defaultdict
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tests.networks import assert_same_gradients, gradients
from torchsid.core.side_effects import without_side_effects
from torchsid.learners.petra import PETRA
from torchsid.models.classifiers.revnet import Norm, revnet
from torchsid.models.reversible import Coupling, ReversibleNetwork
from torchsid.training import checkpoint


def network(*shape: int, levels: int = 2, norm: Norm = "batch") -> ReversibleNetwork:
    torch.manual_seed(0)
    return revnet(torch.zeros(2, *shape), 3, width=8, levels=levels, blocks_per_level=1, norm=norm).double()


def batches(count: int, *shape: int) -> list[tuple[Tensor, Tensor, Tensor]]:
    """Inputs, classes and weights of batches, of several sizes."""
    generator = torch.Generator().manual_seed(1)
    sizes = [5 if i % 3 else 7 for i in range(count)]
    return [
        (
            torch.randn(size, *shape, generator=generator, dtype=torch.float64),
            torch.randint(3, (size,), generator=generator),
            torch.rand(size, generator=generator, dtype=torch.float64),
        )
        for size in sizes
    ]


@pytest.mark.parametrize(("shape", "norm"), [((2, 6, 6), "batch"), ((4,), "layer")], ids=["images", "flat"])
def test_with_frozen_parameters_every_stage_gets_the_gradient_of_an_earlier_batch(shape: tuple[int, ...], norm: Norm) -> None:
    learner, reference = PETRA(network(*shape, norm=norm)), network(*shape, norm=norm)
    given, expected = batches(11, *shape), []
    last = learner.module.depth - 1  # 4: stem, stage, transition, stage, head
    for step, (x, target, weight) in enumerate(given):
        learner.module.zero_grad()
        reference.zero_grad()
        out = learner.backward(x, target, weight=weight)
        loss = (F.cross_entropy(reference(x), target, reduction="none") * weight).sum() / weight.sum()
        loss.backward()
        torch.testing.assert_close(out.loss, loss.detach())
        expected.append([gradients(stage) for stage in reference.stages])
        for j, stage in enumerate(learner.module.stages):
            if (of := step - 2 * (last - j)) >= 0:
                assert_same_gradients(stage, expected[of][j], 1e-10)
            else:
                assert not any(each.grad.any() for each in stage.parameters())
    torch.testing.assert_close(dict(learner.module.named_buffers()), dict(reference.named_buffers()))  # counted once


def by_ticks(network: ReversibleNetwork, given: list[tuple[Tensor, Tensor, Tensor]], rate: float) -> None:
    """Train as published: at each tick every stage takes what its neighbours sent at the last one, and updates at once."""
    stages = list(network.stages)
    optimizers = [torch.optim.SGD(stage.parameters(), lr=rate) for stage in stages]
    up, down = dict[int, Tensor](), dict[int, tuple[Tensor, Tensor]]()
    inputs = defaultdict[int, list[Tensor]](list)
    for tick in range(len(given) + len(stages)):
        sent_up, sent_down = dict[int, Tensor](), dict[int, tuple[Tensor, Tensor]]()
        for j, stage in enumerate(stages):
            if not 0 <= tick - j < len(given):  # not yet, or no more
                continue
            h = given[tick][0] if j == 0 else up[j]
            optimizers[j].zero_grad()
            if j == len(stages) - 1:
                x, y = h.requires_grad_(), given[tick - j][1]
                F.cross_entropy(stage(x), y).backward()
                sent_down[j - 1] = (x.detach(), x.grad)
            else:
                sent_up[j + 1] = stage(h).detach()
                inputs[j].append(h)
                if j in down:
                    (output, gradient), kept = down[j], inputs[j].pop(0)
                    if isinstance(stage, Coupling):
                        y, below = output.chunk(2, 1)
                        with torch.no_grad():
                            kept = torch.cat([below, y - stage.branch(below)], 1)
                    x = kept.detach().requires_grad_()
                    stage(x).backward(gradient)
                    sent_down[j - 1] = (x.detach(), x.grad)
            optimizers[j].step()
        up, down = sent_up, sent_down


def test_training_is_that_of_the_published_pipeline() -> None:
    learner, reference, given = PETRA(network(4, norm="layer")), network(4, norm="layer"), batches(14, 4)
    optimizer = torch.optim.SGD(learner.module.parameters(), lr=0.3)
    before = copy.deepcopy(learner.module)
    for x, target, _ in given:
        optimizer.zero_grad()
        learner.backward(x, target)
        optimizer.step()
    by_ticks(reference, given, 0.3)
    torch.testing.assert_close(learner.module.state_dict(), reference.state_dict(), rtol=1e-10, atol=1e-10)
    assert not any(torch.equal(*pair) for pair in zip(before.parameters(), learner.module.parameters(), strict=True))


def test_messages_under_way_are_part_of_a_checkpoint_and_of_no_trial(tmp_path: Path) -> None:
    learner, other, given = PETRA(network(4)), PETRA(network(4)), batches(9, 4)
    optimizers = [torch.optim.SGD(each.module.parameters(), lr=0.1, momentum=0.9) for each in (learner, other)]

    def train(learner: PETRA, optimizer: torch.optim.Optimizer, steps: slice) -> None:
        for x, target, weight in given[steps]:
            optimizer.zero_grad()
            learner.backward(x, target, weight=weight)
            optimizer.step()

    train(learner, optimizers[0], slice(5))
    checkpoint.save(tmp_path / "last", learner, optimizers[0], {}, config_sha256="")
    checkpoint.load(tmp_path / "last", other, optimizers[1], config_sha256="")
    with without_side_effects(other.module):
        other.backward(*given[0][:2])
    for each, optimizer in zip((learner, other), optimizers, strict=True):
        train(each, optimizer, slice(5, None))
    for first, second in [(learner.module.state_dict(), other.module.state_dict()), (learner.state(), other.state())]:
        torch.testing.assert_close(first, second, rtol=0, atol=0)


def test_networks_that_cannot_be_reversed_are_refused() -> None:
    says = "reversible network of two stages or more, not a .*: set model.network = 'reversible'"
    for refused in (nn.Linear(2, 2), ReversibleNetwork([nn.Linear(2, 2)], 2)):
        with pytest.raises(ValueError, match=says):
            PETRA(refused)
