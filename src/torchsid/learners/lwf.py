"""Learning without forgetting: the network as it was before a task is a teacher during it (Li and Hoiem 2016)."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Annotated, Any, Literal

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from torchsid.core.calling import Inputs
from torchsid.core.cascade import do_nothing
from torchsid.core.learner import Examples, StepOutput
from torchsid.learners import LEARNERS
from torchsid.learners.retention import Former, Retaining, share_of
from torchsid.learners.sid import SID
from torchsid.settings import OneOf, Weight, checked

_OF_SID = "is for stages that learn by themselves: set method = 'sid', with another schedule than 'batched', or 'last-stage'"


class LwF(Retaining):
    """Trains by another method on targets that are partly the network's answers at the end of the previous phase.

        target = (1 − λ) p_y + λ p_old(x),     λ = 1 − 1/k in phase k

    `p_old` is the last belief of the former network on the new samples: no old samples are kept, only a copy of the network. If
    a sample is answered at several positions, as with a head for each task, those of earlier phases learn from
    `p_old` alone. The paper softens both sides by a temperature of 2, here it is 1.

    With `teacher = "same-stage"` SID's stage i learns from the former belief of stage i: none needs a later one's answer, and
    the copy of a stage can stay with the stage.

    Source: Z. Li and D. Hoiem, arXiv 1606.09282, ECCV 2016; λ as in G. van de Ven and A. Tolias, arXiv 1904.07734.

    Args:
        method: Of the learners the one that it trains by, whose settings join in.
        share: λ; `auto` is as above.
        teacher: Whose former belief is `p_old`: the last stage's for all, or for SID each stage's own.
    """

    inner: SID | Any

    @checked
    def __init__(
        self,
        module: nn.Module,
        *,
        method: Annotated[Any, OneOf(LEARNERS)] = "sid",
        share: Weight | Literal["auto"] = "auto",
        teacher: Literal["last-stage", "same-stage"] = "last-stage",
    ) -> None:
        super().__init__(module, method=method)
        self.share, self.teacher = share, teacher
        if teacher == "same-stage" and not isinstance(self.inner, SID):
            raise ValueError(f"teacher={teacher!r} {_OF_SID}")
        self.former: Former | None = None

    @classmethod
    def problems(cls, settings: Mapping[str, Any], *, network: str, depth: int, epochs: int) -> list[str]:
        """Return which settings clash; see `Learner.problems`."""
        found = super().problems(settings, network=network, depth=depth, epochs=epochs)
        if settings.get("teacher") == "same-stage" and not (
            settings.get("method", "sid") == "sid" and settings.get("schedule", "streaming") != "batched"
        ):
            found = [*found, f"teacher = 'same-stage' {_OF_SID}"]
        return found

    def prepare_training(self, *, samples: int, epochs: int, optimizer: Optimizer, answer: torch.Size) -> None:
        """Make a copy of the network; see `Learner.prepare_training`."""
        super().prepare_training(samples=samples, epochs=epochs, optimizer=optimizer, answer=answer)
        self.former = Former.of(self.inner, answer)

    def consolidate(self, before: Iterable[Examples]) -> None:
        """Let the copy be the network as it is now."""
        assert self.former is not None
        self.former.renew(self.module, before)

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
        """Add the method's gradients on the mixed targets; see `Learner.backward`."""
        if self.phase:
            assert self.former is not None
            rows, weight = self.former.mixed(x, target, weight, share_of(self.phase, self.share))
            target = rows[-1]
            if self.teacher == "same-stage":
                step = self.inner.new_step(x, target, weight=weight, scale=scale, samples=samples, on_belief=on_belief)
                return self.inner.take(replace(step, targets=self.inner.log_target(rows)))
        return super().backward(x, target, weight=weight, scale=scale, samples=samples, on_belief=on_belief)

    def state(self) -> dict[str, Tensor]:
        """Return the copy besides."""
        return {**super().state(), **(self.former.tensors() if self.former else {})}
