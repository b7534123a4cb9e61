"""The cascade: stages, one after the other, that refine a belief.

p_0 = prior;   p_i = softmax(f_i(h_i, p_{i−1})),  i = 1 … L                                     (arXiv 2510.03273, section 3)

What a stage reads, `h_i`, tells the two kinds apart: the features of one extractor (`SharedCascade`, the paper's network), or those
that its own piece of a trunk makes of the previous stage's (`StagedCascade`).
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import Literal

import torch
from torch import Tensor, nn

from torchsid.core.beliefs import readable, to_log_belief, uniform_prior
from torchsid.core.calling import Inputs
from torchsid.core.rows import Rows

Close = Callable[[int, list[Tensor]], list[Tensor]]
"""Called where stage i (from 0) can answer, with the tensors that cross to it, the one that it reads first and a mask, bool, last;
the cascade goes on with what it returns."""

_ROUNDING = 1e-2  # of a prior in half precision

Positions = tuple[int, ...] | Literal["tokens"]
"""Where a sample's beliefs are: `()` for one, `(M,)` for M of them, `"tokens"` for one at each token of the features."""


def do_nothing(*told: object) -> None:
    """Take no notice of what a hook is told."""


class Cascade(nn.Module, ABC):
    """Any cascade; an ordinary `nn.Module` whose output is the last stage's logits.

    Args:
        num_classes: C, the outcomes.
        positions: where a sample's beliefs are; see `Positions`.
        log_prior: `p_0` as log-probabilities `[C]`; uniform by default.

    Raises:
        ValueError: fewer than 2 classes, or `log_prior` is not the logarithm of C probabilities that sum to 1.
    """

    log_prior: Tensor
    can_wait: bool = False
    """Whether its logits can be computed later, a few rows at a time."""
    overwritten: frozenset[int] = frozenset()
    """The stages (from 0) whose output is changed in place behind them."""
    rows: Rows | None = Rows()
    """Which axis of each input counts the samples; None where there is no telling."""

    def __init__(self, num_classes: int, *, positions: Positions = (), log_prior: Tensor | None = None) -> None:
        super().__init__()
        if num_classes < 2:
            raise ValueError(f"num_classes={num_classes}: a belief needs 2 classes or more")
        self.num_classes = num_classes
        self.positions = positions
        log_prior = uniform_prior(num_classes) if log_prior is None else log_prior
        if log_prior.shape != (num_classes,):
            raise ValueError(f"log_prior has shape {tuple(log_prior.shape)}; {num_classes} classes need [{num_classes}]")
        total = log_prior.double().exp().sum()
        if readable(total) and not abs(float(total) - 1) < _ROUNDING:
            raise ValueError(f"log_prior is of numbers that sum to {total:.4g}, not 1: give the logarithm of probabilities")
        self.register_buffer("log_prior", log_prior)

    @property
    @abstractmethod
    def depth(self) -> int:
        """The number of stages L."""

    @abstractmethod
    def run(self, x: Inputs, close: Close) -> None:
        """Run on a batch, and call `close` where each stage can answer."""

    @abstractmethod
    def answer(self, stage: int, tensors: list[Tensor], log_belief: Tensor) -> tuple[list[Tensor], Tensor]:
        """Return what stage `stage` (from 0) hands on, and its logits, of what crosses to it and a belief, both `[B, ..., C]`."""

    @abstractmethod
    def named_stage_parameters(self, stage: int) -> Iterator[tuple[str, nn.Parameter]]:
        """Yield the parameters that stage `stage` (from 0) trains, under their names here."""

    def begin_step(self) -> None:
        """Take notice that a batch is to be trained on; whoever trains the cascade says so before each."""

    def prior(self, features: Tensor, stage: int = 0) -> Tensor:
        """Return `p_0` at every position of a batch of a stage's features, log-probabilities `[B, ..., C]`, in at least float32."""
        log_prior = to_log_belief(self.log_prior)  # normalised anew: a cast of the module to bfloat16 rounds the buffer
        rows = features.shape[0]  # not len(features), which torch.export takes for a constant
        where = features.shape[:-1] if self.positions == "tokens" else (rows, *self.positions)
        return log_prior.expand(*where, self.num_classes)

    def forward(self, x: Inputs) -> Tensor:
        """Return the logits of the last stage, `[B, ..., C]`: ordinary feed-forward inference."""
        return self.refine(x)

    def log_beliefs(self, x: Inputs, log_belief: Tensor | None = None) -> Tensor:
        """Return the belief after every stage, `[L+1, B, ..., C]`; row 0 is `log_belief` or else the prior, row L the answer."""
        found: list[Tensor] = []
        self.refine(x, log_belief, on_belief=lambda _, log_belief: found.append(log_belief))
        return torch.stack(found)

    def refine(
        self, x: Inputs, log_belief: Tensor | None = None, *, on_belief: Callable[[int, Tensor], None] = do_nothing
    ) -> Tensor:
        """Run all stages and return the last one's logits; no other belief is kept.

        Args:
            x: the batch.
            log_belief: what the first stage refines, `[B, ..., C]`; the prior by default.
            on_belief: called with −1 and that belief, then with each stage's index and its belief.
        """
        logits = None

        def close(stage: int, tensors: list[Tensor]) -> list[Tensor]:
            nonlocal logits, log_belief
            if log_belief is None:
                log_belief = self.prior(tensors[0])
            if stage == 0:
                on_belief(-1, log_belief)
            tensors, logits = self.answer(stage, tensors, log_belief)
            log_belief = to_log_belief(logits)
            on_belief(stage, log_belief)
            return tensors

        self.run(x, close)
        assert logits is not None  # a cascade has a stage
        return logits


def as_cascade(module: object, method: str) -> Cascade:
    """Return what a method is to train, if it is a cascade; else a ValueError says what to give instead."""
    if isinstance(module, Cascade):
        return module
    named = module.named_modules() if isinstance(module, nn.Module) else ()
    inside = next((name for name, part in named if isinstance(part, Cascade)), "")
    kind = f"{method} takes a Cascade, not a {type(module).__name__}"
    if inside == "_orig_mod":
        way = "compile the stages of a cascade in place, staged_cascade(..., by='graph') and cascade.compile_stages()"
    elif inside:
        way = f"give the cascade itself, its .{inside}; processes share the work by torchrun (torchsid.distributed)"
    else:
        way = "cut it first, staged_cascade(model, num_classes, stages, example), or give its features to shared_cascade"
    raise ValueError(f"{kind}: {way}")
