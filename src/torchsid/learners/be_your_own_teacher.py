"""Be your own teacher: the last stage teaches the earlier ones, all trained end to end (Zhang et al. 2019)."""

from collections.abc import Sequence
from typing import Any, ClassVar

from torch import Tensor, nn

from torchsid.core.beliefs import forward_kl, to_log_belief
from torchsid.core.learner import Lock
from torchsid.core.rule import Batch, StageRule
from torchsid.core.staged import StagedCascade
from torchsid.settings import NotNegative, Temperature, Weight, checked


class BeYourOwnTeacher(StageRule):
    """Trains a cut classifier end to end, every head on the target and on the last stage's belief and features.

        L_i = (1−α) · KL(p_y ‖ p_i) + α·T² · KL(sg p_L^T ‖ p_i^T) + β · ‖F_i − sg F_L‖²,   i < L
        L_L = (1−α) · KL(p_y ‖ p_L)

    `p^T` is a belief at temperature T. `F_i` is what the linear layer of head i reads, `F_L` what that of the model reads; a
    linear map connects them if their widths differ, as the paper's bottlenecks do. Only the teacher is detached: it is deep
    supervision, not local, and all graphs are kept.

    Source: L. Zhang et al., arXiv 1905.08094, ICCV 2019. The defaults of α, T and β are those of a re-implementation; the paper
    does not give them. Stored: the whole network. Locked: everything.

    Args:
        cascade: a staged cascade.
        alpha: Weight α of the teacher.
        temperature: T.
        beta: Weight β of the hint.

    Raises:
        ValueError: β is not 0, and a head or the model does not end in a linear layer, or is compiled.
    """

    locks: ClassVar[frozenset[Lock]] = frozenset({"forward", "update", "backward"})
    transports_weights = True
    takes_positions = False

    @checked
    def __init__(
        self, cascade: StagedCascade, *, alpha: Weight = 0.1, temperature: Temperature = 3.0, beta: NotNegative = 1e-6
    ) -> None:
        super().__init__(cascade)
        self.window = cascade.depth
        self.alpha, self.temperature, self.beta = alpha, temperature, beta
        self.hints = list[nn.Module]()
        if beta:
            heads: list[Any] = [*cascade.heads[:-1]]
            if any(module._compiled_call_impl for module in cascade.segments.modules):
                why = "compares what linear layers read, which compiled stages do not show"
                raise ValueError(f"BeYourOwnTeacher {why}: set beta = 0, or do not compile")
            if not (cascade.own_readout and all(hasattr(head, "body") for head in heads)):
                why = "compares what linear layers read, and the model or a head of your own ends in none"
                raise ValueError(f"BeYourOwnTeacher {why}: set beta = 0")
            width: Any = cascade.model.get_submodule(cascade.own_readout).in_features
            self.hints = self.add_to_heads("hint", lambda stage, _: _to_width(heads[stage].body.width, width))

    def learn(self, batch: Batch) -> tuple[Sequence[Tensor], Sequence[Tensor]]:
        """Let all stages learn at the end, from what linear layers have read besides."""
        self.seen = list[Tensor]()  # F_1 … F_L of this step
        hooks = []
        if self.hints:
            modules: list[Any] = [head.body for head in self.module.heads[:-1]]
            hooks = [module.register_forward_hook(lambda _, args, made: self.seen.append(made)) for module in modules]
            last = self.module.model.get_submodule(self.module.own_readout)
            hooks.append(last.register_forward_pre_hook(lambda _, args: self.seen.append(args[0])))
        try:
            return super().learn(batch)
        finally:
            del self.seen
            for hook in hooks:
                hook.remove()

    def loss(self, stage: int, features: Tensor, logits: Tensor, batch: Batch) -> Tensor:
        """Return `(1−α) · KL(p_y ‖ p_i)`, which all stages have."""
        return (1 - self.alpha) * batch.cross_entropy(logits)

    def losses_together(self, features: Sequence[Tensor], logits: Sequence[Tensor], batch: Batch) -> list[Tensor]:
        """Return `L_1 … L_L`."""
        losses = super().losses_together(features, logits, batch)
        teacher = to_log_belief(logits[-1].detach() / self.temperature)
        for stage, made in enumerate(logits[:-1]):
            soft = forward_kl(to_log_belief(made / self.temperature), teacher)
            losses[stage] = losses[stage] + self.alpha * self.temperature**2 * batch.mean(soft)
        for stage, hint in enumerate(self.hints):
            far = hint(self.seen[stage]).to(batch.target) - self.seen[-1].detach().to(batch.target)
            losses[stage] = losses[stage] + self.beta * batch.mean(far.square().sum(1))
        return losses


def _to_width(width: int, wanted: int) -> nn.Module | None:
    return nn.Identity() if width == wanted else nn.Linear(width, wanted, bias=False)
