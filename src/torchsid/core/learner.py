"""What every training method offers, whatever happens inside."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils._pytree import register_pytree_node

from torchsid.core.beliefs import to_log_belief, uniform_prior
from torchsid.core.calling import Inputs, call, logits_of
from torchsid.core.cascade import Cascade, do_nothing
from torchsid.core.lazy_logits import LazyLogits
from torchsid.core.objective import LocalObjective
from torchsid.core.pitfalls import Lookout
from torchsid.core.staged import StagedCascade

Examples = tuple[Tensor, Tensor, Tensor | None]
"""Inputs `[B, ...]`, target and weight of some samples."""
Lock = Literal["forward", "update", "backward"]
"""What a layer waits for: the layers before it; the forward pass of those behind it; their backward pass (arXiv 1608.05343)."""


@dataclass(frozen=True)
class StepOutput:
    """What one step measured, detached; the gradients are in `.grad` of the parameters.

    Attributes:
        stage_losses: mean loss of each stage in nats, `[L]`, not scaled; of a method with one loss `[1]`.
        belief: the last belief, `[B, ..., C]`: log-probabilities, or what they can be computed from.
        answers: the likeliest outcome after each stage, int64 `[L, B, ...]`; None where a method does not say.
    """

    stage_losses: Tensor
    belief: Tensor | LazyLogits
    answers: Tensor | None = None

    @property
    def loss(self) -> Tensor:
        """The sum of the stage losses, a scalar."""
        return self.stage_losses.sum()

    @property
    def log_belief(self) -> Tensor:
        """The last belief as log-probabilities, `[B, ..., C]`.

        Raises:
            ValueError: they were not computed, and the weights that they would be computed from have been updated since.
        """
        if isinstance(self.belief, Tensor):
            return self.belief
        if self.belief.outdated:
            what = "the belief was not computed, since its vocabulary is large, and the weights have been updated since"
            raise ValueError(f"{what}: give on_belief, which is told of every belief, or read answers")
        return self.belief.log_belief()


register_pytree_node(
    StepOutput, lambda out: ([out.stage_losses, out.belief, out.answers], None), lambda parts, _: StepOutput(*parts)
)


class Learner(ABC):
    """A network together with a training method.

    A method of your own is a subclass with a `backward`. Its settings are the keyword-only parameters of its constructor, whose
    first argument is the network.
    """

    networks: ClassVar[tuple[str, ...]] = ("cascade", "staged", "plain")
    """The values of `model.network` that it trains: a shared or a staged cascade, or a network without stages."""
    trains_stages: ClassVar[bool] = False
    """Whether every stage has a loss of its own, so that its belief can be used: to stop early, or to audit labels."""
    runs_on_workers: ClassVar[bool] = False
    """Whether its stages can be trained by several processes."""
    locks: ClassVar[frozenset[Lock]] = frozenset({"forward", "update", "backward"})
    """What a layer, or a stage, waits for in training."""
    transports_weights: ClassVar[bool] = True
    """Whether the weights of a layer, or a stage, serve to compute the gradients of another."""
    takes_positions: ClassVar[bool] = True
    """Whether it can answer at several positions of a sample."""
    needs_classes: ClassVar[bool] = False
    """Whether it cannot learn from probability rows."""
    answers_in_training: ClassVar[bool] = True
    """Whether the belief that a step tells is what the network answers; if not, it is one that the method comes by."""
    moves_buffers: bool = False
    """Whether `backward` changes buffers that follow what it has seen, even where no layer has running statistics."""
    counts_by_weight: bool = True
    """Whether a sample of weight 2 is as good as two samples, and not where samples are compared with each other."""
    draws_noise: ClassVar[bool] = False
    """Whether what a sample teaches depends on random numbers that are drawn for it."""
    delays_gradients: ClassVar[bool] = False
    """Whether `backward` adds, to a part of the network, gradients of earlier batches; what is under way is in `state`."""
    needs_whole_samples: ClassVar[bool] = False
    """Whether it cannot follow augmentation that blends several samples into one."""
    window: int | None = None
    """How many stages the loss of a stage reaches back over, its own included; None: the whole network."""
    remembers_samples: bool = False
    """Whether it wants to know which training samples a step sees."""
    retains: bool = False
    """Whether it keeps something of the earlier phases of a training, by `begin_phase`."""
    module: nn.Module
    """The network; an ordinary module at inference."""
    objective: LocalObjective | None = None
    """What each stage minimises, in a method with local losses; may be exchanged between two steps."""
    lookout: Lookout | None = None
    """Looks for what would train nothing; `begin` and `end` are called around a step."""
    optimizer: Optimizer | None = None
    """Over the parameters of `module`, in a learner that updates them itself, by `step`; None where `backward` is to be called."""

    @property
    def idle_steps(self) -> int:
        """The number of first steps in which parts of the network have no gradient yet, or one of zero, since it is under way."""
        return 0

    @classmethod
    def problems(cls, settings: Mapping[str, Any], *, network: str, depth: int, epochs: int) -> list[str]:
        """Return which settings clash with each other or with the network, each problem beginning with a setting's name.

        Settings that are missing have their defaults; `network` is `"cascade"` (shared), `"staged"` or `"plain"`, `depth` is L.
        """
        if network in cls.networks:
            return []
        name, others = settings.get("name", cls.__name__), " or ".join(map(repr, cls.networks))
        return [f"name = {name!r} does not train model.network = {network!r}: set model.network = {others}, or take another method"]

    @classmethod
    def updates_at_once(cls, settings: Mapping[str, Any]) -> bool:
        """Return whether it would update parameters while other gradients are still missing, so that no step can be undone."""
        return False

    @abstractmethod
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
        """Add the gradients of one batch to `.grad` of every parameter; step nothing.

        Args:
            x: the batch, `[B, ...]`.
            target: integer outcomes `[B, ...]` or probability rows `[B, ..., C]`, constants. The outcome -100 counts nowhere, as in
                `torch.nn.functional.cross_entropy`.
            weight: of each position, `[B, ...]`, a constant: every mean is `Σ w·l / Σ w`, and 0 where all are 0. Where it is 0 the
                target may be anything.
            scale: multiplies the loss that is differentiated, not the one reported: `len(x) / effective_batch` to accumulate
                gradients, `scaler.scale(torch.ones(()))` under a `GradScaler`; a tensor `[L]` weighs the stages.
            samples: which training samples these are, int64 `[B]`; for methods that remember something of each.
            on_belief: called with a stage's index (from 0) and its belief `[B, ..., C]`, detached, as soon as it is known.
        """

    def step(self, *batch: Any, **settings: Any) -> StepOutput:
        """Do as `backward` and update every parameter by `optimizer`; arguments as there."""
        raise NotImplementedError(f"{type(self).__name__} leaves the step to the optimiser: call backward, then optimizer.step()")

    @torch.no_grad()
    def log_beliefs(self, x: Inputs) -> Tensor:
        """Return the prior and the belief after every stage without gradients, `[L+1, B, ..., C]`; L = 1 for a plain network."""
        return log_beliefs_of(self.module, x)

    @property
    def beliefs_can_wait(self) -> bool:
        """Whether `lazy_log_beliefs` can be called."""
        return isinstance(self.module, Cascade) and self.module.can_wait

    @torch.no_grad()
    def lazy_log_beliefs(self, x: Inputs) -> list[LazyLogits]:
        """Return the beliefs of `log_beliefs`, one after the other, not computed yet."""
        assert isinstance(self.module, StagedCascade)
        return self.module.lazy_log_beliefs(x)

    def prepare_training(self, *, samples: int, epochs: int, optimizer: Optimizer, answer: torch.Size) -> None:
        """Make what the training needs; called once, before the first step, with the network where it will train.

        Args:
            samples: the number of training samples.
            epochs: passes over them.
            optimizer: over the parameters of `module`; the loop steps it, unless this learner keeps it as `optimizer`.
            answer: the shape of one sample's belief, `[..., C]`.

        Raises:
            ValueError: nothing can be trained; or the optimiser misses parameters, holds those of another network, needs a closure.
        """
        (self.lookout or Lookout(self.module)).rely_on(optimizer)

    def begin_epoch(self, epoch: int) -> None:  # noqa: B027 - to most, epochs are alike
        """Take notice that an epoch begins, counted from 1; what it sets follows from the number alone, so that runs can resume."""

    def begin_phase(self, phase: int, before: Iterable[Examples]) -> None:  # noqa: B027 - to most, phases are alike
        """Take notice of the phase that an epoch belongs to; called at the start of every epoch but those of the first phase.

        A training may see other samples in each phase, as in a sequence of tasks. A run that resumes calls it again: what it has
        done for a phase already, which `state` tells, is not to be done twice.

        Args:
            phase: from 1.
            before: training batches of the phase before, not augmented; read only where they are asked for.
        """

    def state(self) -> dict[str, Tensor]:
        """Return what a checkpoint must hold besides the weights; it is filled in place by `fill`. Names have a colon."""
        return {}


def fill(held: Tensor, found: Tensor) -> None:
    """Copy a tensor into one of the same shape, or one that is empty, which gets it."""
    (held if held.numel() else held.resize_(found.shape)).copy_(found)


def log_beliefs_of(module: nn.Module, x: Inputs) -> Tensor:
    """Return the prior and the belief after every stage, `[L+1, B, ..., C]`; L = 1 for what is no cascade."""
    if isinstance(module, Cascade):
        return module.log_beliefs(x)
    log_belief = to_log_belief(logits_of(call(module, x)))
    prior = uniform_prior(log_belief.shape[-1], log_belief.device).to(log_belief)
    return torch.stack([prior.expand_as(log_belief), log_belief])
