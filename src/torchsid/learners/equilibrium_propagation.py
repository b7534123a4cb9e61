"""Equilibrium propagation: two settled states tell the gradient of a network with an energy (Scellier and Bengio 2017)."""

from collections.abc import Sequence
from typing import ClassVar, Literal

import torch
from torch import Tensor

from torchsid.core.learner import Lock
from torchsid.core.pitfalls import Lookout
from torchsid.core.rule import Batch, Rule, differentiate
from torchsid.models.networks.hopfield import HopfieldNetwork
from torchsid.settings import Count, Positive, checked

Variant = Literal["one-sided", "random-sign", "centred"]


class EquilibriumPropagation(Rule):
    """Trains a layered Hopfield network by the changes when its output units are nudged towards the target.

        F = E + β C,  C = ‖s_L − p_y‖²;   free phase: s⁰, from zeros;   nudged phases: s^β, from s⁰;
        one-sided:  ∂C/∂θ ≈ (∂E/∂θ(s^β) − ∂E/∂θ(s⁰)) / β;     centred:  ∂C/∂θ ≈ (∂E/∂θ(s^β) − ∂E/∂θ(s^−β)) / 2β

    For `β → 0` and phases that settle this is the gradient of C at the free fixed point, in the centred form to second order in β.
    Random sign is one-sided with β or −β, drawn for each batch. Nothing is differentiated through the settling: `∂E/∂W_l` is
    `−s_l s_{l−1}ᵀ`, from the units at both ends of a weight.

    Source: B. Scellier and Y. Bengio, Frontiers in Computational Neuroscience 11:24, 2017; centred: A. Laborieux et al., Frontiers
    in Neuroscience 15:633674, 2021. Stored: two or three states. Locked: forward and update; both directions use the same
    symmetric weights. Simplified: the free phase begins at zeros, not where the sample's last one ended; one learning rate for
    all layers. It takes no other networks; deep ones must settle for long.

    Args:
        network: one of `model.network = "hopfield"`.
        variant: Which phases are compared.
        beta: How strongly the output units are nudged.
        nudged_steps: Steps down F from the free state.
    """

    networks: ClassVar[tuple[str, ...]] = ("hopfield",)
    locks: ClassVar[frozenset[Lock]] = frozenset({"forward", "update"})
    transports_weights: ClassVar[bool] = True
    takes_positions: ClassVar[bool] = False
    module: HopfieldNetwork

    @checked
    def __init__(
        self, network: HopfieldNetwork, *, variant: Variant = "centred", beta: Positive = 0.5, nudged_steps: Count = 4
    ) -> None:
        if not isinstance(network, HopfieldNetwork):
            what = f"EquilibriumPropagation trains a HopfieldNetwork, not a {type(network).__name__}"
            raise ValueError(f"{what}: set model.network = 'hopfield'")
        self.module = network
        self.variant = variant
        self.beta = beta
        self.nudged_steps = nudged_steps
        self.lookout = Lookout(network)

    def learn(self, batch: Batch) -> tuple[Sequence[Tensor], Sequence[Tensor]]:
        """Let the network settle, nudge it, and compare the energies that the weights give both states."""
        network, x = self.module, batch.x
        with torch.no_grad():
            free = network.settle(x, network.rest(x), network.steps)
            target = batch.target.to(free[-1].dtype)
            low, high = self.nudges()
            before, after = (network.settle(x, free, self.nudged_steps, beta=b, target=target) if b else free for b in (low, high))
        change = network.energy(x, after) - network.energy(x, before)
        differentiate(batch.mean(change) / (high - low), batch.scales[0])
        return [batch.mean((free[-1] - target).square().sum(-1))], [free[-1]]

    def nudges(self) -> tuple[float, float]:
        """Return the two values of β whose states are compared; where it is 0 that is the free one."""
        if self.variant == "centred":
            return -self.beta, self.beta
        negative = self.variant == "random-sign" and bool(torch.rand(()) < 0.5)
        return 0.0, -self.beta if negative else self.beta
