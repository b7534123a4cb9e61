"""NoProp in continuous time: one block learns to denoise the label's embedding at times that are drawn (Li et al. 2025)."""

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from torchsid.core.learner import Lock
from torchsid.core.pitfalls import Lookout
from torchsid.core.rule import Batch, Rule, differentiate
from torchsid.learners.noprop import kl, noisy
from torchsid.models.networks.noprop_ct import NoPropCTNetwork
from torchsid.settings import Positive, checked


class NoPropCT(Rule):
    """Trains the block of a flow from noise to the label's embedding, and its schedule, without running the flow.

        t ~ U(0, 1),  z_t ~ q(· | y),  û = softmax(f(x, z_t, t)) W,
        L = CE(out(z_1), y) + KL(q(z_0 | y) ‖ N(0, I)) + ½ η · SNR′(t) · ‖û − u_y‖²,     SNR = e^{−γ(t)}

    The belief of a step is the block's at random times, which has seen part of the label.

    Source: Q. Li, Y. W. Teh and R. Pascanu, arXiv 2503.24322, CoLLAs 2025. Stored: the block. Locked: nothing, no step of the flow
    waits for another. How the paper parametrises and initialises γ, encodes the time and integrates the flow is not known to us
    in detail; see `NoPropCTNetwork`, whose flow begins at the mean of the noise. Left out: flow matching, and embeddings that
    begin with images of the classes.

    Args:
        network: one of `model.network = "noprop-ct"`.
        eta: Weight η of the denoising.
    """

    networks: ClassVar[tuple[str, ...]] = ("noprop-ct",)
    locks: ClassVar[frozenset[Lock]] = frozenset()
    takes_positions: ClassVar[bool] = False
    answers_in_training: ClassVar[bool] = False
    draws_noise: ClassVar[bool] = True
    module: NoPropCTNetwork

    @checked
    def __init__(self, network: NoPropCTNetwork, *, eta: Positive = 1.0) -> None:
        if not isinstance(network, NoPropCTNetwork):
            raise ValueError(f"NoPropCT trains a NoPropCTNetwork, not a {type(network).__name__}: set model.network = 'noprop-ct'")
        self.module = network
        self.eta = eta
        self.lookout = Lookout(network)

    def learn(self, batch: Batch) -> tuple[Sequence[Tensor], Sequence[Tensor]]:
        """Differentiate the loss at times drawn for each sample."""
        network, u = self.module, self.module.embed(batch.target)
        (first, last), _ = network.schedule(u.new_tensor([0.0, 1.0]))
        t = torch.rand(len(u), device=u.device, dtype=u.dtype)
        gamma, slope = network.schedule(t)
        z = noisy(u, (-gamma).sigmoid().unsqueeze(-1))
        logits = network.denoise(network.block.reads(batch.x), z, t)
        distance = (network.embed(logits.softmax(-1)) - u).square().sum(-1)
        read = batch.cross_entropy(network.out(noisy(u, (-last).sigmoid())))
        loss = read + batch.mean(kl(u, (-first).sigmoid())) + self.eta / 2 * batch.mean(-slope * (-gamma).exp() * distance)
        differentiate(loss, batch.scales[0])
        return [loss], [logits]
