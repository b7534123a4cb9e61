"""Freezing: stage by stage the network stands still as tasks go by, and what stands still cannot forget."""

from collections.abc import Callable, Iterable, Mapping
from typing import Annotated, Any, ClassVar

from torch import Tensor, nn

from torchsid.core.calling import Inputs
from torchsid.core.cascade import do_nothing
from torchsid.core.learner import Examples, StepOutput
from torchsid.core.staged import StagedCascade
from torchsid.learners import LEARNERS
from torchsid.learners.retention import Retaining
from torchsid.settings import Count, OneOf, checked


class Freezing(Retaining):
    """Trains a staged cascade by another method; when a phase ends, the trunk of the first stages stops learning.

    In phase k (from 1) the first `(k − 1) · per_phase` stages are frozen, the last one never. Their belief heads keep learning,
    since later stages read their beliefs, and so do the other stages: none needs a gradient through those below.

    Source: none for beliefs; the frozen lower layers are those of progressive freezing, A. Brock et al., arXiv 1706.04983.

    Args:
        method: Of the learners the one that it trains by, whose settings join in.
        per_phase: Stages that are frozen at the end of each phase.
    """

    networks: ClassVar[tuple[str, ...]] = ("staged",)

    @checked
    def __init__(self, module: nn.Module, *, method: Annotated[Any, OneOf(LEARNERS)] = "sid", per_phase: Count = 1) -> None:
        super().__init__(module, method=method)
        if not isinstance(self.module, StagedCascade):
            raise ValueError(f"Freezing freezes the stages of a staged cascade, which {type(self.module).__name__} is not")
        self.per_phase = per_phase

    @classmethod
    def problems(cls, settings: Mapping[str, Any], *, network: str, depth: int, epochs: int) -> list[str]:
        """Return which settings clash; see `Learner.problems`."""
        if network != "staged":
            return ["name = 'freezing' freezes stages of a cut trunk: set model.network = 'staged', or take another method"]
        return super().problems(settings, network=network, depth=depth, epochs=epochs)

    def consolidate(self, before: Iterable[Examples]) -> None:
        """Keep nothing: the weights themselves stay."""

    def frozen(self) -> set[str]:
        """Return the names of the parameters that stand still in this phase."""
        assert isinstance(self.module, StagedCascade)
        stages = range(min(self.phase * self.per_phase, self.module.depth - 1))
        return {name for stage in stages for name, _ in self.module.named_stage_parameters(stage) if name.startswith("model.")}

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
        """Add the method's gradients where the network is not frozen; see `Learner.backward`."""
        out = super().backward(x, target, weight=weight, scale=scale, samples=samples, on_belief=on_belief)
        frozen = self.frozen()
        for name, parameter in self.module.named_parameters():
            if name in frozen:
                parameter.grad = None  # and so no step of the optimiser, not even of its momentum
        return out
