"""Methods that train a network by a rule of their own, without one loss that is differentiated through all of it."""

from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from torchsid.core.axes import arranged
from torchsid.core.beliefs import check_positions, forward_kl, log_target, share, to_log_belief
from torchsid.core.calling import Inputs
from torchsid.core.cascade import do_nothing
from torchsid.core.layers import Layered
from torchsid.core.learner import Learner, Lock, StepOutput
from torchsid.core.pitfalls import Lookout
from torchsid.core.staged import StagedCascade
from torchsid.core.step import explained
from torchsid.core.weighting import counted
from torchsid.errors import TargetError, some_of


@dataclass(frozen=True)
class Batch:
    """What a rule learns from."""

    x: Any
    log_target: Tensor
    """`p_y` as log-probabilities, `[B, C]`; of a cascade that answers at positions `[B, ..., C]`."""
    share: Tensor
    """The part of each sample in a mean, `w / Σ w`, `[B, ...]`: `1/B` where all count the same."""
    scales: Tensor
    """What each loss is multiplied by where it is differentiated, `[losses]`."""

    @cached_property
    def target(self) -> Tensor:
        """`p_y` as probabilities, `[B, C]`; one-hot for classes."""
        return self.log_target.exp()

    def mean(self, losses: Tensor) -> Tensor:
        """Return `Σ w·l / Σ w` of one loss a sample, `[B, ...]`; one where `w = 0` counts nothing, whatever it is."""
        return (losses.masked_fill(self.share == 0, 0.0) * self.share).sum()

    def error(self, logits: Tensor) -> Tensor:
        """Return `e = (p − p_y) · share`, `[B, C]`: the gradient of the mean cross-entropy with respect to the logits."""
        return (logits.detach().softmax(-1) - self.target.to(logits.dtype)) * self.share.unsqueeze(-1).to(logits.dtype)

    def cross_entropy(self, logits: Tensor) -> Tensor:
        """Return the mean of `KL(p_y ‖ p)`, a scalar: the cross-entropy less the target's entropy."""
        return self.mean(forward_kl(to_log_belief(logits), self.log_target))

    def differentiate(self, which: int, loss: Tensor) -> None:
        """Differentiate a loss, multiplied by the scale of loss `which` (from 0); not where all that it comes from is frozen."""
        if loss.requires_grad:
            (self.scales[which] * loss).backward()  # type: ignore[no-untyped-call]


def differentiate(loss: Tensor, scale: Tensor) -> None:
    """Add the gradient of `scale · loss` to `.grad` of what made it; nothing where all of that is frozen."""
    if loss.requires_grad:
        (scale * loss).backward()  # type: ignore[no-untyped-call]


def send_back(outputs: Sequence[Tensor], gradients: Sequence[Tensor]) -> None:
    """Add to `.grad` of what made each output what its gradient says, shaped like it; one that nothing trained made is left out."""
    pairs = [(h, gradient) for h, gradient in zip(outputs, gradients, strict=True) if h.requires_grad]
    if pairs:
        torch.autograd.backward([h for h, _ in pairs], [gradient for _, gradient in pairs])


class Rule(Learner):
    """A method with a rule of its own: a subclass says in `learn` what it adds to the gradients.

    It says which `locks` it has, and whether it `transports_weights`.
    """

    locks: ClassVar[frozenset[Lock]] = frozenset({"forward"})
    transports_weights: ClassVar[bool] = False
    module: Any
    """A network that says its `num_classes`; with losses of its own for each part, also its `depth`."""
    lookout: Lookout

    @property
    def losses(self) -> int:
        """The number of losses, each of which may be scaled by itself: one a layer in a local method, else 1."""
        return 1 if self.window is None else self.module.depth

    @abstractmethod
    def learn(self, batch: Batch) -> tuple[Sequence[Tensor], Sequence[Tensor]]:
        """Add what a batch teaches to `.grad`; return the mean losses, `[losses]`, and the logits `[B, ..., C]` of all that answer.

        Every gradient is multiplied by `batch.scales`, the losses are not. Samples of share 0 must not count.
        """

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
        """Add what the rule says to `.grad` of every parameter; step nothing. See `Learner.backward`.

        Raises:
            TargetError: the target does not fit, or is of a kind that the method cannot learn from.
            NonFiniteError: a parameter holds NaN or infinity from the start.
            ValueError: nothing would be trained; `scale` is neither one number nor one a loss, or `weight` not one a position.
        """
        self.lookout.begin()
        losses, answers = self.learn(self.batch(x, target, weight=weight, scale=scale))
        beliefs = [to_log_belief(logits.detach()) for logits in answers]
        for stage, log_belief in enumerate(beliefs):
            on_belief(stage, log_belief)
        self.lookout.end()
        answered = torch.stack([log_belief.argmax(-1) for log_belief in beliefs])
        return StepOutput(torch.stack(list(losses)).detach(), beliefs[-1], answered)

    def batch(self, x: Any, target: Tensor, *, weight: Tensor | None, scale: float | Tensor) -> Batch:
        """Return a batch with its targets and what each counts, checked; errors as of `backward`."""
        name = type(self).__name__
        if self.needs_classes and isinstance(target, Tensor) and target.is_floating_point():
            raise TargetError(f"{name} learns from classes, not from probability rows: give integers [B], target.argmax(-1)")
        weight, like = counted(target, weight), next(self.module.parameters())
        dtype = torch.promote_types(like.dtype, torch.float32)
        log_p_y = log_target(target, self.module.num_classes, weight=weight, dtype=dtype).to(like.device)
        if not self.takes_positions and isinstance(x, Tensor):
            check_positions(log_p_y.shape[:-1], x.shape[:1], self.module.num_classes)
        scales = torch.as_tensor(scale, dtype=dtype, device=log_p_y.device)
        if scales.shape not in ((), (1,), (self.losses,)):
            raise ValueError(f"scale has shape {list(scales.shape)}: give one number, or one a loss, [{self.losses}]")
        counts = torch.ones_like(log_p_y[..., 0]) if weight is None else weight.to(log_p_y)
        return Batch(x=x, log_target=log_p_y, share=share(counts), scales=scales.expand(self.losses))

    def prepare_training(self, *, samples: int, epochs: int, optimizer: Optimizer, answer: torch.Size) -> None:
        """See `Learner.prepare_training`; a ValueError says as well that the method cannot answer at several positions."""
        if len(answer) > 1 and not self.takes_positions:
            what = f"{type(self).__name__} answers once a sample, and the task at {answer[0]} positions"
            raise ValueError(f"{what}: take another method")
        super().prepare_training(samples=samples, epochs=epochs, optimizer=optimizer, answer=answer)


class LayerRule(Rule):
    """A rule for a sequence of layers.

    Args:
        network: the layers.

    Raises:
        ValueError: it is no `Layered`, has a single layer, or one that the method cannot train.
    """

    networks: ClassVar[tuple[str, ...]] = ("layered",)
    takes_positions: ClassVar[bool] = False
    linear_only: ClassVar[bool] = False
    """Whether each layer must be a linear one on vectors; no other part has parameters, such as a normalisation."""
    module: Layered

    def __init__(self, network: Layered) -> None:
        self.module = check_layers(network, type(self).__name__)
        if self.linear_only and (others := network.not_linear):
            what = f"{type(self).__name__} trains linear layers on vectors, and the network has {some_of(others)}"
            raise ValueError(f"{what}: take a perceptron, or another method")
        self.lookout = Lookout(network)


def check_layers(network: Layered, method: str) -> Layered:
    """Return the network, if it is a `Layered` of two layers or more; else a ValueError says what to give the method."""
    if not isinstance(network, Layered):
        raise ValueError(f"{method} trains a sequence of layers, not a {type(network).__name__}: give Layered(model, example)")
    if network.depth < 2:
        raise ValueError(f"{method} trains two layers or more, and the network has one: take a deeper one")
    return network


class StageRule(Rule):
    """A rule for the stages of a cut classifier, each of which has a loss of its own.

    With a `window` of 1 no gradient crosses a cut. With a larger one, the number of stages, nothing is detached: every loss reaches
    the input, and is differentiated when all stages have answered. Every stage answers for itself: its head is told the prior
    instead of the previous belief, which SID alone hands on.

    Args:
        cascade: a staged cascade.

    Raises:
        ValueError: it is no staged cascade, has other heads than the method's, or answers where the method cannot.
    """

    networks: ClassVar[tuple[str, ...]] = ("staged",)
    trains_stages: ClassVar[bool] = True
    head: ClassVar[str] = ""
    """The value of `model.head` without which it would be another method; empty where any head will do."""
    module: StagedCascade
    window: int | None = 1

    def __init__(self, cascade: StagedCascade) -> None:
        name = type(self).__name__
        if not isinstance(cascade, StagedCascade):
            way = "cut a classifier, staged_cascade(model, num_classes, stages, example)"
            raise ValueError(f"{name} trains a StagedCascade, not a {type(cascade).__name__}: {way}")
        found = {stage.head for stage in cascade.plan.stages[:-1]} if cascade.plan else {"unknown"}
        if self.head and cascade.depth > 1 and found != {self.head}:
            shown = ", ".join(map(repr, sorted(found)))
            raise ValueError(f"{name} is a method of the head {self.head!r}, not of {shown}: set model.head = {self.head!r}")
        if cascade.positions and not self.takes_positions:
            raise ValueError(f"{name} answers once a sample, and the model at several positions: take another method")
        self.module = cascade
        cascade.independent = True
        self.lookout = Lookout(cascade)

    def add_to_heads(self, name: str, make: Callable[[int, torch.Size], nn.Module | None]) -> list[Any]:
        """Give the heads but the last a submodule each, which is trained with them, and return those.

        Args:
            name: of the submodule.
            make: from a stage (from 0) and the shape of a sample of what its head reads to the submodule; None for none.

        Raises:
            ValueError: the cascade has no plan, which tells those shapes.
        """
        cascade = self.module
        if cascade.plan is None:
            raise ValueError(f"{type(self).__name__} needs the shapes of the features: make the cascade by staged_cascade")
        made = list[nn.Module | None]()
        for stage, (head, axes, plan) in enumerate(zip(cascade.heads[:-1], cascade.axes, cascade.plan.stages, strict=False)):
            features = arranged(torch.empty(1, *plan.features, device="meta"), axes.channels)
            made.append(module := make(stage, features.shape[1:]))
            if module:
                like = next(head.parameters(), next(cascade.model.parameters()))
                head.add_module(name, module.to(like.device, like.dtype))
        return made

    @abstractmethod
    def loss(self, stage: int, features: Tensor, logits: Tensor, batch: Batch) -> Tensor:
        """Return the mean loss of stage `stage` (from 0), a scalar.

        Args:
            stage: which one; they come in order.
            features: what its head reads: vectors, tokens or maps, `[B, ...]`; of the last stage the logits.
            logits: what its head says, `[B, ..., C]`.
            batch: the targets.
        """

    def losses_together(self, features: Sequence[Tensor], logits: Sequence[Tensor], batch: Batch) -> list[Tensor]:
        """Return the losses of all stages, where `window` is larger than 1 and all have answered; arguments as of `loss`."""
        return [self.loss(stage, *read, batch) for stage, read in enumerate(zip(features, logits, strict=True))]

    def answer(self, stage: int, tensors: list[Tensor]) -> Tensor:
        """Return the logits of a stage's head, `[B, ..., C]`, from what crosses the cut behind it."""
        return self.module.answer(stage, tensors, self.module.prior(tensors[0], stage))[1]

    def learn(self, batch: Batch) -> tuple[Sequence[Tensor], Sequence[Tensor]]:
        """Let one stage after the other learn, and hand on what it makes without its graph; or all of them at the end."""
        cascade, read, answers, losses = self.module, list[Tensor](), list[Tensor](), list[Tensor]()

        def close(stage: int, tensors: list[Tensor]) -> list[Tensor]:
            if stage == 0:
                where = cascade.prior(tensors[0]).shape[:-1]
                check_positions(batch.log_target.shape[:-1], where, cascade.num_classes)
            features, logits = cascade.axes[stage].arranged(tensors[0]), self.answer(stage, tensors)
            if self.window != 1:
                read.append(features)
                answers.append(logits)
                return [tensor.clone() for tensor in tensors] if stage in cascade.overwritten else tensors
            loss = self.loss(stage, features, logits, batch)
            if loss.requires_grad:  # not so for a frozen stage
                try:
                    (batch.scales[stage] * loss).backward()  # type: ignore[no-untyped-call]
                except RuntimeError as error:
                    raise explained(error, stage) from None
            losses.append(loss.detach())
            answers.append(logits.detach())
            return [tensor.detach() for tensor in tensors]

        cascade.begin_step()
        cascade.run(batch.x, close)
        if read:
            losses = self.losses_together(read, answers, batch)
            (batch.scales * torch.stack(losses)).sum().backward()  # type: ignore[no-untyped-call]
        return losses, answers
