"""One loss at the end, differentiated through the whole network: backpropagation, the baseline."""

from collections.abc import Callable
from typing import ClassVar

import torch
from torch import Tensor, nn

from torchsid.core.beliefs import check_positions, forward_kl, log_target, mean
from torchsid.core.calling import Inputs
from torchsid.core.cascade import do_nothing
from torchsid.core.learner import Learner, StepOutput, log_beliefs_of
from torchsid.core.pitfalls import Lookout
from torchsid.core.staged import StagedCascade
from torchsid.core.weighting import counted
from torchsid.settings import Weight, checked


class Backprop(Learner):
    """Trains a network end to end on `KL(p_y ‖ p)`, the cross-entropy less the target's entropy; a subclass has another loss.

    * `Backprop(cascade)`: the paper's baseline, the same chain of stages with one loss at its end.
    * `Backprop(network)`: any classifier that returns logits `[B, C]`, such as an extractor with a linear head.

    Args:
        module: a `Cascade` or a network that returns logits.
        label_smoothing: Share ε of the target that is spread evenly over the classes: `(1−ε)·p_y + ε/C`.
    """

    lookout: Lookout
    networks: ClassVar[tuple[str, ...]] = ("plain", "cascade")  # of a staged one it would leave the belief heads untrained

    @checked
    def __init__(self, module: nn.Module, *, label_smoothing: Weight = 0.0) -> None:
        if not isinstance(module, nn.Module):
            raise ValueError(f"{type(self).__name__} trains an nn.Module, not a {type(module).__name__}: give the network itself")
        self.module = module
        self.label_smoothing = label_smoothing
        self.lookout = Lookout(module)

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
        """Add the gradient of the one loss to every parameter; step nothing. See `Learner.backward`.

        Raises:
            TargetError: the target does not fit.
            NonFiniteError: a parameter holds NaN or infinity from the start.
            ValueError: nothing would be trained; `scale` is neither one number nor one a loss, or `weight` not one a position.
        """
        self.lookout.begin()
        weight = counted(target, weight)
        log_beliefs = self._log_beliefs(x)
        num_classes = log_beliefs.shape[-1]
        log_p_y = log_target(target, num_classes, label_smoothing=self.label_smoothing, weight=weight, dtype=log_beliefs.dtype)
        check_positions(log_p_y.shape[:-1], log_beliefs.shape[1:-1], num_classes)
        log_p_y = log_p_y.to(log_beliefs.device)
        weight = None if weight is None else weight.to(log_p_y)
        count = len(log_beliefs) - 1 if self.trains_stages else 1
        if (shape := torch.as_tensor(scale).shape) not in ((), (1,), (count,)):  # before anything is remembered
            raise ValueError(f"scale has shape {list(shape)}: give one number, or one a loss, [{count}]")
        for stage, log_belief in enumerate(log_beliefs[1:].detach()):
            on_belief(stage, log_belief)
        losses = self.stage_losses(log_beliefs, log_p_y, samples, weight)
        (scale * losses).mean().backward()  # type: ignore[no-untyped-call]
        self.lookout.end()
        return StepOutput(losses.detach(), log_beliefs[-1].detach(), log_beliefs[1:].argmax(-1))

    def stage_losses(self, log_beliefs: Tensor, log_target: Tensor, samples: Tensor | None, weight: Tensor | None) -> Tensor:
        """Return the mean loss of every belief that has one, `[1]` for the last, from all beliefs, `[L+1, B, ..., C]`."""
        return mean(self.losses(log_beliefs[-1], log_target, samples), weight).unsqueeze(0)

    def losses(self, log_belief: Tensor, log_target: Tensor, samples: Tensor | None) -> Tensor:
        """Return the loss of each position, `[B, ...]`, from the last belief and the target; `samples` as for `backward`."""
        return forward_kl(log_belief, log_target)

    @torch.no_grad()
    def log_beliefs(self, x: Inputs) -> Tensor:
        """Return the prior and the belief after every stage, `[L+1, B, C]`; L = 1 for a plain network."""
        return self._log_beliefs(x)

    def _log_beliefs(self, x: Inputs) -> Tensor:
        """Do as `log_beliefs`, with gradients; of a staged cascade the model alone runs."""
        return log_beliefs_of(self.module.model if isinstance(self.module, StagedCascade) else self.module, x)
