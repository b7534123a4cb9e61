"""NoProp in discrete time: every block learns by itself to denoise the label's embedding (Li et al. 2025)."""

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from torchsid.core.learner import Lock
from torchsid.core.pitfalls import Lookout
from torchsid.core.rule import Batch, Rule, differentiate
from torchsid.models.networks.noprop import NoPropNetwork, signal_to_noise
from torchsid.settings import Positive, checked


class NoProp(Rule):
    """Trains the blocks of a diffusion from noise to the label's embedding, each without the others.

        z_{t−1} ~ q(· | y),  û_t = softmax(f_t(x, z_{t−1})) W,
        L_t = CE(out(z_T), y) + KL(q(z_0 | y) ‖ N(0, I)) + T/2 · η · (SNR_t − SNR_{t−1}) · ‖û_t − u_y‖²

    The mean of `L_t` is, with η = 1, the negative evidence bound. Their sum is differentiated; block t learns from `L_t`
    alone, the embedding W and the output layer from all. The belief of a step is that of the first block, which sees almost
    nothing of the label; the network's own answer is a complete diffusion.

    Source: Q. Li, Y. W. Teh and R. Pascanu, arXiv 2503.24322, CoLLAs 2025. Stored: one block. Locked: nothing; at inference blocks
    wait for those before them. Simplified: `z_T` is drawn once a batch, not once a block, and no embedding begins with images of
    the classes (prototypes). How the paper's schedule ends is not known; see `cosine_schedule`. Every block reads the raw
    input, so no features build on features.

    Args:
        network: one of `model.network = "noprop"`.
        eta: Weight η of the denoising.
    """

    networks: ClassVar[tuple[str, ...]] = ("noprop",)
    locks: ClassVar[frozenset[Lock]] = frozenset()
    takes_positions: ClassVar[bool] = False
    answers_in_training: ClassVar[bool] = False
    draws_noise: ClassVar[bool] = True
    module: NoPropNetwork
    window: int | None = 1

    @checked
    def __init__(self, network: NoPropNetwork, *, eta: Positive = 0.1) -> None:
        if not isinstance(network, NoPropNetwork):
            raise ValueError(f"NoProp trains a NoPropNetwork, not a {type(network).__name__}: set model.network = 'noprop'")
        self.module = network
        self.eta = eta
        self.lookout = Lookout(network)

    def learn(self, batch: Batch) -> tuple[Sequence[Tensor], Sequence[Tensor]]:
        """Let the output layer learn, then one block after the other."""
        network, losses, first = self.module, list[Tensor](), None
        u = network.embed(batch.target)
        shared = batch.cross_entropy(network.out(noisy(u, network.alpha_bar[-1]))) + batch.mean(kl(u, network.alpha_bar[0]))
        differentiate(shared, batch.scales.sum())
        for t, (block, increase) in enumerate(zip(network.blocks, signal_to_noise(network.alpha_bar).diff(), strict=True)):
            u = network.embed(batch.target)
            logits = block(batch.x, noisy(u, network.alpha_bar[t]))
            distance = (network.embed(logits.softmax(-1)) - u).square().sum(-1)
            loss = network.depth / 2 * self.eta * increase * batch.mean(distance)
            differentiate(loss, batch.scales[t])
            losses.append((shared + loss).detach())
            first = logits if first is None else first
        assert first is not None
        return losses, [first]


def noisy(u: Tensor, alpha_bar: Tensor) -> Tensor:
    """Draw `z ~ q(z | y) = N(√ᾱ u, (1 − ᾱ) I)`, `[B, d]`."""
    return alpha_bar.sqrt() * u + (1 - alpha_bar).sqrt() * torch.randn_like(u)


def kl(u: Tensor, alpha_bar: Tensor) -> Tensor:
    """Return `KL(q(z_0 | y) ‖ N(0, I)) = ½ (ᾱ_0 ‖u‖² − d ᾱ_0 − d ln(1 − ᾱ_0))`, `[B]`."""
    return (alpha_bar * (u.square().sum(-1) - u.shape[-1]) - u.shape[-1] * torch.log1p(-alpha_bar)) / 2
