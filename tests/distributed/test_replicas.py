from functools import partial

import pytest
import torch
from tests.distributed.workers import in_workers

from torchsid.distributed.replicas import Replicas
from torchsid.distributed.world import join

BATCHES = (1, 2, 3, 5, 8)


def split(rank: int) -> list[list[float]]:
    with join(replicas=3, timeout=60) as world:
        parts = [Replicas(world).split(batch) for batch in BATCHES]
        world.gather(None)
        return [[rows.start, rows.stop, share] for rows, share in parts]


def test_the_replicas_cover_the_batch_and_their_shares_average_to_one() -> None:
    for batch, parts in zip(BATCHES, zip(*in_workers(split, 3), strict=True), strict=True):
        used = [row for start, stop, share in parts for row in range(start, stop) if share]
        assert used == list(range(batch))
        assert sum(share for _, _, share in parts) / 3 == pytest.approx(1)
        assert all(stop > start for start, stop, _ in parts)  # many models cannot run on nothing
        assert all(share == pytest.approx((stop - start) * 3 / batch) for start, stop, share in parts if share)


def together(rank: int, batch: int) -> dict[str, object]:
    """The mean over a batch of which each replica has a part."""
    with join(replicas=3, timeout=60) as world:
        replicas, parameter = Replicas(world), torch.nn.Parameter(torch.tensor([1.0, 2.0]))
        frozen = torch.nn.Parameter(torch.zeros(3))
        rows, share = replicas.split(batch)
        samples = torch.arange(2.0 * batch).view(batch, 2)[rows]
        loss = (samples @ parameter).mean()
        (loss * share).backward()
        replicas.average([parameter, frozen])
        assert parameter.grad is not None
        assert frozen.grad is None
        beliefs = samples.view(1, -1, 2).detach()
        losses, beliefs = replicas.join(loss.detach().reshape(1), beliefs, batch, share)
        return {
            "gradient": parameter.grad,
            "loss": losses,
            "beliefs": beliefs,
            "agreed": replicas.agree(7 + rank),
        }


@pytest.mark.parametrize("batch", [2, 7])
def test_gradients_losses_and_beliefs_are_those_of_the_whole_batch(batch: int) -> None:
    samples = torch.arange(2.0 * batch).view(batch, 2)
    for worker in in_workers(partial(together, batch=batch), 3):
        torch.testing.assert_close(worker["gradient"], samples.mean(0))
        torch.testing.assert_close(worker["loss"], (samples @ torch.tensor([1.0, 2.0])).mean().reshape(1))
        assert torch.equal(worker["beliefs"], samples.view(1, batch, 2))
        assert worker["agreed"] == 7
