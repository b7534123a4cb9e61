"""What methods that keep what was learnt in earlier phases of a training share: another method that they train by, and its past."""

from collections.abc import Callable, Iterable, Mapping
from copy import copy, deepcopy
from dataclasses import dataclass
from inspect import get_annotations
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Optimizer

from torchsid.core.calling import Inputs
from torchsid.core.cascade import do_nothing
from torchsid.core.learner import Examples, Learner, StepOutput
from torchsid.core.objective import LocalObjective
from torchsid.core.pitfalls import Lookout
from torchsid.core.weighting import counted
from torchsid.learners import LEARNERS

_OWN = ("module", "objective", "lookout", "retains", "runs_on_workers")


class Retaining(Learner):
    """Trains a network by another method, and sees to it that what earlier phases taught is not forgotten.

    In the first phase it is that method, to the bit. A subclass has a `consolidate`, and a `backward` that adds to the method's.

    Args:
        module: the network.
        method: The learner that it trains by, by name or as a class.
    """

    retains = True

    def __init__(self, module: nn.Module, *, method: Callable[..., Learner] | str) -> None:
        self.inner: Learner = (LEARNERS.load(method) if isinstance(method, str) else method)(module)
        if isinstance(self.inner, Retaining):
            raise ValueError(f"method is {type(self.inner).__name__}, which retains by itself: name what it trains by")
        self.module = self.inner.module
        # What the method can do is what this one can, but for being spread and for updating stages by itself.
        others = {name: getattr(self.inner, name) for name in get_annotations(Learner) if name not in _OWN}
        vars(self).update(others)
        self.phase = 0
        self._consolidated = torch.zeros((), dtype=torch.int64)  # the phase that was prepared last

    @property
    def objective(self) -> LocalObjective | None:
        """That of the method."""
        return self.inner.objective

    @objective.setter
    def objective(self, objective: LocalObjective | None) -> None:
        self.inner.objective = objective

    @property
    def lookout(self) -> Lookout | None:
        """That of the method."""
        return self.inner.lookout

    @lookout.setter
    def lookout(self, lookout: Lookout | None) -> None:
        self.inner.lookout = lookout

    @classmethod
    def problems(cls, settings: Mapping[str, Any], *, network: str, depth: int, epochs: int) -> list[str]:
        """Return what the method says, and whether it can be retained; see `Learner.problems`."""
        name = settings.get("method", "sid")
        method: Any = LEARNERS.load(name) if isinstance(name, str) else name
        if method.retains:
            return [f"method = {name!r} retains by itself: name what it trains by, such as 'sid' or 'backprop'"]
        found = method.problems({**settings, "name": name}, network=network, depth=depth, epochs=epochs)
        if method.updates_at_once(settings):
            found = [
                *found,
                f"method = {name!r} would update each stage before anything is added to its gradients: leave update = 'stage' out",
            ]
        return [problem.replace("name =", "method =", 1) if problem.startswith("name =") else problem for problem in found]

    def consolidate(self, before: Iterable[Examples]) -> None:
        """Take down what is to be kept of the phase that has ended; `before` are its training batches."""
        raise NotImplementedError

    def begin_phase(self, phase: int, before: Iterable[Examples]) -> None:
        """Do once what there is to do between two phases; see `Learner.begin_phase`."""
        if int(self._consolidated) < phase:
            self.consolidate(before)
            self._consolidated.fill_(phase)
        self.phase = phase

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
        """Add the method's gradients, and what retains; see `Learner.backward`. Reported losses are the method's."""
        return self.inner.backward(x, target, weight=weight, scale=scale, samples=samples, on_belief=on_belief)

    def log_beliefs(self, x: Inputs) -> Tensor:
        """Return the beliefs as the method does."""
        return self.inner.log_beliefs(x)

    def prepare_training(self, *, samples: int, epochs: int, optimizer: Optimizer, answer: torch.Size) -> None:
        """Prepare the method; see `Learner.prepare_training`."""
        self.inner.prepare_training(samples=samples, epochs=epochs, optimizer=optimizer, answer=answer)

    def begin_epoch(self, epoch: int) -> None:
        """Tell the method."""
        self.inner.begin_epoch(epoch)

    def state(self) -> dict[str, Tensor]:
        """Return what the method remembers, and which phase was prepared last."""
        return {**self.inner.state(), "retained:phase": self._consolidated}


@dataclass(frozen=True)
class Former:
    """The network as it was when a phase ended, and where it had been taught to answer."""

    learner: Learner
    """The method on a copy of the network, which is never trained."""
    known: Tensor
    """Positions of a sample that an earlier phase has taught, bool `[...]`."""

    @classmethod
    def of(cls, learner: Learner, answer: torch.Size) -> "Former":
        """Return a copy of a learner's network, which has been taught nothing yet; `answer` is a belief's shape, `[..., C]`."""
        former = copy(learner)
        former.module = deepcopy(learner.module).requires_grad_(False).eval()
        return cls(former, torch.zeros(answer[:-1], dtype=torch.bool, device=next(former.module.parameters()).device))

    def renew(self, module: nn.Module, before: Iterable[Examples]) -> None:
        """Become the network as it is now, after a phase with these samples."""
        self.learner.module.load_state_dict(module.state_dict())
        for _, target, weight in before:
            weight = counted(target, weight)
            self.known.logical_or_(torch.ones_like(self.known) if weight is None else weight.to(self.known.device).gt(0).any(0))

    def tensors(self) -> dict[str, Tensor]:
        """Return what a checkpoint holds."""
        weights = {f"former:{name}": each for name, each in self.learner.module.state_dict().items() if isinstance(each, Tensor)}
        return {**weights, "retained:known": self.known}

    def mixed(self, x: Inputs, target: Tensor, weight: Tensor | None, share: float) -> tuple[Tensor, Tensor]:
        """Return rows that are partly the target and partly the former beliefs, `[L, B, ..., C]`, and their weights `[B, ...]`.

            t = (a p_y + b p_old) / (a + b),   a = (1−λ) w,   b = λ · mean of w where the position is known, else 0

        Of one position a sample that is `(1−λ) p_y + λ p_old`. Of several, of which a sample has a target at some, former beliefs
        teach where earlier phases did, with the weight λ in all.
        """
        log_old = self.learner.log_beliefs(x)[1:]
        outcomes, weight = log_old.shape[-1], counted(target, weight)
        rows = target if target.is_floating_point() else F.one_hot(target.clamp(min=0).long(), outcomes)
        rows = rows.to(log_old)
        weight = torch.ones_like(rows[..., 0]) if weight is None else weight.to(rows)
        known = self.known.to(rows)
        old = known / known.sum().clamp(min=1) * weight.flatten(1).sum(1).view(-1, *[1] * known.dim()) if known.dim() else weight
        own, old = (1 - share) * weight, share * old
        both = own + old
        part = (own / both.clamp(min=torch.finfo(both.dtype).tiny)).unsqueeze(-1)
        return part * rows + (1 - part) * log_old.exp(), both


def share_of(phase: int, share: float | str) -> float:
    """Return the weight λ of former beliefs: for `"auto"` that of the earlier phases among all so far; `phase` is from 0."""
    return 1 - 1 / (phase + 1) if isinstance(share, str) else share
