"""Elastic weight consolidation: weights that earlier tasks needed are held (Kirkpatrick et al. 2017)."""

import warnings
from collections.abc import Callable, Iterable
from itertools import islice
from typing import Annotated, Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from torchsid.core.calling import Inputs
from torchsid.core.cascade import do_nothing
from torchsid.core.learner import Examples, Learner, StepOutput
from torchsid.core.side_effects import without_side_effects
from torchsid.core.weighting import counted
from torchsid.learners import LEARNERS
from torchsid.learners.retention import Retaining
from torchsid.settings import Count, NotNegative, OneOf, checked


class EWC(Retaining):
    """Adds to a method's gradients that of a penalty on leaving the weights at the end of the previous phase.

        L + λ/2 · Σ_j F_j (θ_j − θ*_j)²,     F = Σ over earlier phases of E_x E_{y∼p(y|x)} (∂L/∂θ)²

    F is the diagonal of the Fisher information, from single samples whose outcome is drawn from the last belief. L is the loss
    that the method differentiates: for SID each stage's own, so no stage needs another's to know which of its weights count.
    Kept are F and θ*, twice the network: one sum and the last weights, as in online EWC with γ = 1 (J. Schwarz et al., arXiv
    1805.06370).

    Source: J. Kirkpatrick et al., arXiv 1612.00796, PNAS 2017.

    Args:
        method: Of the learners the one that it trains by, whose settings join in.
        strength: λ.
        fisher_samples: Samples of a phase from which F is estimated.
    """

    @checked
    def __init__(
        self,
        module: nn.Module,
        *,
        method: Annotated[Any, OneOf(LEARNERS)] = "sid",
        strength: NotNegative = 1e4,
        fisher_samples: Count = 500,
    ) -> None:
        super().__init__(module, method=method)
        self.strength, self.fisher_samples = strength, fisher_samples
        self.fisher, self.anchor = dict[str, Tensor](), dict[str, Tensor]()  # F and θ* by the parameter's name

    def prepare_training(self, *, samples: int, epochs: int, optimizer: Optimizer, answer: torch.Size) -> None:
        """Make room for F and θ*; see `Learner.prepare_training`."""
        super().prepare_training(samples=samples, epochs=epochs, optimizer=optimizer, answer=answer)
        trained = {name: each for name, each in self.module.named_parameters() if each.requires_grad}
        self.fisher, self.anchor = ({name: torch.zeros_like(each) for name, each in trained.items()} for _ in range(2))

    def consolidate(self, before: Iterable[Examples]) -> None:
        """Add the Fisher information of the phase that has ended, and note its weights."""
        found = fisher(self.inner, before, self.fisher_samples)
        for name, parameter in self.module.named_parameters():
            if name in self.fisher:
                self.fisher[name].add_(found[name])
                self.anchor[name].copy_(parameter.detach())

    def backward(
        self,
        x: Inputs,
        target: Tensor,
        *,
        weight: Tensor | None = None,
        scale: float | Tensor = 1.0,
        samples: Tensor | None = None,
        on_belief: Callable[[int, Tensor], None] = do_nothing,
    ) -> StepOutput:
        """Add the method's gradients and `λ F (θ − θ*)`; see `Learner.backward`."""
        out = super().backward(x, target, weight=weight, scale=scale, samples=samples, on_belief=on_belief)
        if self.phase:
            strength = self.strength * torch.as_tensor(scale).mean().to(out.stage_losses)
            for name, parameter in self.module.named_parameters():
                if name in self.fisher and parameter.grad is not None:
                    moved = parameter.detach() - self.anchor[name]
                    parameter.grad.add_((strength * self.fisher[name] * moved).to(parameter.grad))
        return out

    def state(self) -> dict[str, Tensor]:
        """Return F and θ* besides."""
        kept = {"fisher": self.fisher, "anchor": self.anchor}
        return {**super().state(), **{f"{kind}:{name}": each for kind, own in kept.items() for name, each in own.items()}}


def fisher(learner: Learner, batches: Iterable[Examples], count: int) -> dict[str, Tensor]:
    """Return the mean squared gradient of each parameter, of what a learner minimises on outcomes that the network itself expects.

    Args:
        learner: is left as it was; the network is in evaluation mode meanwhile.
        batches: samples, of which `count` at most are taken, one by one.
        count: N.
    """
    named = dict(learner.module.named_parameters())
    total, seen = {name: torch.zeros_like(each) for name, each in named.items()}, 0
    with without_side_effects(learner.module), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that the network is in evaluation mode
        learner.module.eval()
        for x, target, weight in batches:
            weight = counted(target, weight)
            belief = learner.log_beliefs(x)[-1].exp()
            drawn = torch.multinomial(belief.flatten(0, -2), 1).view(belief.shape[:-1])
            for i in islice(range(len(drawn)), count - seen):
                one = slice(i, i + 1)
                learner.backward(x[one], drawn[one], weight=None if weight is None else weight[one])
                for name, parameter in named.items():
                    if parameter.grad is not None:
                        total[name].addcmul_(parameter.grad, parameter.grad)
                        parameter.grad = None
                seen += 1
            if seen == count:
                break
    return {name: each / max(1, seen) for name, each in total.items()}
