"""The staged cascade: the trunk itself is cut, and every piece of it is a stage with a belief of its own.

h_0 = x;   h_i = f_i(sg(h_{i−1}));   p_i = softmax(g_i(h_i, p_{i−1})),  i = 1 … L

`f_1 … f_L` are the pieces of an ordinary classifier, `g_i` are belief heads, `sg` is the stop-gradient: while it trains, no
gradient crosses a cut, so there is no global backward pass. The classifier keeps its modules, its names and its state dict.
"""

import warnings
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from torchsid.core.axes import Axes
from torchsid.core.calling import Inputs, call, logits_of
from torchsid.core.cascade import Cascade, Close, Positions
from torchsid.core.lazy_logits import LazyLogits
from torchsid.core.masks import MaskOf, arguments_of, asks_for_mask, fitted, named_mask
from torchsid.core.readout import ReadoutCopy
from torchsid.core.rows import Rows
from torchsid.errors import CutError

LazyAnswer = Callable[[int, list[Tensor], LazyLogits], LazyLogits]
"""From a stage (from 0), what crosses to it and the previous belief, to logits that are not computed yet."""


class Segments(Protocol):
    """A way to run a model piece by piece."""

    @property
    def modules(self) -> Sequence[nn.Module]:
        """The pieces; none where they are no modules."""

    def run(self, model: nn.Module, x: Inputs, close: Close) -> None:
        """Run the model; at each cut hand on what `close` returns. The head reads the first tensor; the last are the logits."""


class OwnHead(nn.Module):
    """The head of the last stage: the model's own logits, `logits_L = f_L(h_{L−1})`. The deployed network is the model itself."""

    def forward(self, logits: Tensor, log_belief: Tensor) -> Tensor:
        """Return the model's logits `[B, ..., C]` as they are."""
        return logits


class StagedCascade(Cascade):
    """A classifier cut into L stages, each with a belief head; an ordinary `nn.Module` at inference.

    `torchsid.staged_cascade` builds one. `cascade.model` is the classifier as it was given: its state dict is the original one,
    and with the model's own head as the last one it is all that has to be deployed.

    Args:
        model: the classifier.
        heads: one a stage; `(features, log_belief) -> logits`, both `[B, ..., C]`. The last one reads the model's logits. One whose
            forward has a parameter `mask` is told which tokens count, bool `[B, T]`, or None where all do.
        segments: runs the model piece by piece.
        owned: the names of the model's parameters that belong to each stage.
        overwritten: the stages (from 0) whose output the model changes in place behind the cut, as `nn.ReLU(inplace=True)` does.
            Where a later backward pass needs that output, training hands on a copy.
        positions: with `num_classes` and `log_prior` as for `Cascade`.
        axes: of what the head of each stage reads; by default the batch is first.
        rows: which axis of each input counts the samples; None where there is no telling.
        mask: which tokens count, of the inputs; by default the input `attention_mask` says so.
        readout: the copy of the last stage's readout, where heads share one.
        own_readout: the name of the linear layer that returns the model's logits; empty where none does.
    """

    def __init__(
        self,
        model: nn.Module,
        heads: Iterable[nn.Module],
        segments: Segments,
        num_classes: int,
        *,
        owned: Sequence[Sequence[str]],
        overwritten: Collection[int] = (),
        positions: Positions = (),
        log_prior: Tensor | None = None,
        axes: Sequence[Axes] = (),
        rows: Rows | None = Rows(),  # noqa: B008 - frozen
        mask: MaskOf | None = None,
        readout: ReadoutCopy | None = None,
        own_readout: str = "",
    ) -> None:
        super().__init__(num_classes, positions=positions, log_prior=log_prior)
        self.model = model
        self.heads = nn.ModuleList(heads)
        self.readout = readout
        self.own_readout = own_readout
        self.segments = segments
        self.owned = tuple(map(tuple, owned))
        self.overwritten = frozenset(overwritten)
        self.independent = False
        """Whether every stage answers for itself, its head being told the prior and not the previous belief."""
        self.plan: Plan | None = None
        """What each stage keeps, computes and trains, and what its head adds; `print(cascade.plan)`."""
        self.axes = tuple(axes) or (Axes(),) * self.depth
        self.rows = rows
        self.mask = mask or partial(named_mask, arguments_of(model))
        self._asking = tuple(map(asks_for_mask, self.heads))
        self._told = False  # that a mask does not fit
        assert len(self.owned) == len(self.axes) == self.depth

    @property
    def depth(self) -> int:
        """The number of stages L."""
        return len(self.heads)

    def named_stage_parameters(self, stage: int) -> Iterator[tuple[str, nn.Parameter]]:
        """Yield the parameters that stage `stage` (from 0) trains, its piece of the model and its head, under their names here."""
        for name in self.owned[stage]:
            yield f"model.{name}", self.model.get_parameter(name)
        yield from self.heads[stage].named_parameters(prefix=f"heads.{stage}")

    def begin_step(self) -> None:
        """Refresh the copy of the last stage's readout, where heads share one and it is due."""
        if self.readout:
            self.readout.begin_step()

    def compile_stages(self) -> None:
        """Compile the pieces of the model and the heads one by one with `torch.compile`, in place; the state dict stays as it is.

        Raises:
            CutError: the model was not cut by="graph", so that its stages are no modules.
        """
        if not self.segments.modules:
            why = "by='boundary' runs the model as it is, and its stages cannot be compiled one by one"
            raise CutError(f"{why}: cut with by='graph'")
        for module in (*self.segments.modules, *self.heads):
            module.compile()

    def run(self, x: Inputs, close: Close) -> None:
        """Run the model piece by piece, a mask of its tokens beside it; see `Cascade.run` and `Segments.run`."""
        self.segments.run(self.model, x, with_mask(close, self.mask_of(x)))

    def mask_of(self, x: Inputs) -> Tensor | None:
        """Return which tokens of the inputs count, bool `[B, T]`; None where all do.

        Raises:
            ValueError: it is no such tensor.
        """
        mask = self.mask(x)
        if mask is not None and (not isinstance(mask, Tensor) or mask.dim() != 2):
            found = f"shape {list(mask.shape)}" if isinstance(mask, Tensor) else f"a {type(mask).__name__}"
            raise ValueError(f"mask gives {found}: return [B, T], 1 where a token counts and 0 at padding, or None")
        return None if mask is None else mask.bool()

    def prior(self, features: Tensor, stage: int = 0) -> Tensor:
        """Return `p_0` at every position of the features as the trunk makes them; see `Cascade.prior`."""
        return super().prior(self.axes[stage].arranged(features))

    def answer(self, stage: int, tensors: list[Tensor], log_belief: Tensor) -> tuple[list[Tensor], Tensor]:
        """Return the tensors as they are, and the logits of the stage's head; see `Cascade.answer`."""
        if self.independent:
            log_belief = self.prior(tensors[0], stage)
        return tensors, self.heads[stage](self.axes[stage].batch_first(tensors[0]), log_belief, **self._told_of(stage, tensors))

    def _told_of(self, stage: int, tensors: list[Tensor]) -> dict[str, Tensor | None]:
        """Return what the head of a stage asks for beside its features."""
        if not self._asking[stage]:
            return {}
        mask = tensors[-1] if tensors[-1].dtype == torch.bool else None
        return {"mask": mask if mask is None else self.fit(stage, tensors[0], mask)}

    @property
    def shares_readout(self) -> bool:
        """Whether all heads but the last read by the copy of the last stage's readout."""
        return self.readout is not None and all(getattr(head, "readout", None) is self.readout for head in self.heads[:-1])

    @property
    def can_wait(self) -> bool:  # type: ignore[override]  # read alone
        """Whether `lazily` can be used: all heads are `lazy`, or the model's own with a plain linear layer at its end."""
        compiled = any(module._compiled_call_impl for module in self.segments.modules)
        return not compiled and all(
            _is_bare(self.model.get_submodule(self.own_readout)) if isinstance(head, OwnHead) else getattr(head, "lazy", False)
            for head in self.heads
        )

    def lazy_log_beliefs(self, x: Inputs, belief: LazyLogits | None = None) -> list[LazyLogits]:
        """Do as `log_beliefs`, one belief after the other, not computed yet; where they `can_wait`."""
        found: list[LazyLogits] = []

        def close(stage: int, tensors: list[Tensor]) -> list[Tensor]:
            if stage == 0:
                found.append(self.lazy_prior(tensors[0]) if belief is None else belief)
            found.append(answer(stage, tensors, found[-1]).detach())
            return tensors

        with self.lazily() as answer:
            self.run(x, close)
        return found

    def lazy_prior(self, features: Tensor) -> LazyLogits:
        """Do as `prior`, not computed yet."""
        prior = self.prior(features)
        return LazyLogits.constant(prior[(0,) * (prior.dim() - 1)], prior.shape[:-1])

    @contextmanager
    def lazily(self) -> Iterator[LazyAnswer]:
        """Yield what gives the answer of a stage, where the cascade runs within, as logits that are not computed yet.

        The linear layer that would make the model's logits takes notice of what it reads, and returns zeros that take no memory.
        """
        layer: Any = self.model.get_submodule(self.own_readout) if isinstance(self.heads[-1], OwnHead) else None
        read: list[Tensor] = []

        def notice(hidden: Tensor) -> Tensor:
            read.append(hidden)
            return hidden.new_zeros(()).expand(*hidden.shape[:-1], layer.out_features)

        def answer(stage: int, tensors: list[Tensor], previous: LazyLogits) -> LazyLogits:
            head: Any = self.heads[stage]
            if isinstance(head, OwnHead):
                return LazyLogits(read.pop(), layer.weight, layer.bias)
            hidden = head.hidden(self.axes[stage].batch_first(tensors[0]), **self._told_of(stage, tensors))
            if getattr(head, "residual", False):  # in the basis of one readout; the prior, before the first, is a bias alone
                so_far = hidden + previous.hidden if previous.hidden.shape[-1] else hidden
                return LazyLogits(so_far, head.readout.weight, previous.bias)
            return LazyLogits(hidden, head.readout.weight, head.readout.bias)

        if layer:
            layer.forward = notice
        try:
            yield answer
        finally:
            if layer:
                del layer.forward

    def fit(self, stage: int, features: Tensor, mask: Tensor) -> Tensor | None:
        """Return which tokens of a stage's features count, `[B, T]`; None where there is no telling, which a warning says once."""
        tokens = self.axes[stage].arranged(features)
        if tokens.dim() != 3:
            return None  # maps and vectors have none
        found = fitted(mask, tokens.shape[1], self.axes[stage].in_front)
        if found is None and not self._told:
            self._told = True
            advice = "give mask, a function of the inputs that returns [B, T] for these, or cut elsewhere"
            read = f"the {tokens.shape[1]} tokens that the head of stage {stage + 1} reads, padding among them"
            warnings.warn(f"the mask {['B', *mask.shape[1:]]} fits not {read}: {advice}", stacklevel=2)
        return found

    def forward(self, x: Inputs) -> Tensor:
        """Return the logits of the last stage, `[B, ..., C]`; the model alone runs when its own head does not read beliefs."""
        return logits_of(call(self.model, x)) if isinstance(self.heads[-1], OwnHead) else self.refine(x)


def _is_bare(layer: nn.Module) -> bool:
    """Return whether a module is a linear layer that does what `nn.Linear` does, and nothing beside it."""
    parts = vars(layer)
    hooks = any(parts[name] for name in parts if name.endswith(("forward_hooks", "forward_pre_hooks", "backward_hooks")))
    return type(layer) is nn.Linear and "forward" not in parts and not hooks and layer._compiled_call_impl is None


def with_mask(close: Close, mask: Tensor | None) -> Close:
    """Return `close` told of a mask beside what crosses a cut, if there is one."""
    return close if mask is None else lambda stage, tensors: close(stage, [*tensors, mask])[: len(tensors)]


@dataclass(frozen=True, kw_only=True)
class StagePlan:
    """One stage as it was cut. Operations are forward multiply-adds a sample, bytes are kept for backward a sample."""

    cut: str  # the submodule after which the stage ends; empty for the last
    features: tuple[int, ...]  # shape of what its head reads, without the batch
    parameters: int
    operations: int
    kept_bytes: int  # of the piece of the trunk alone
    head: str
    head_parameters: int
    head_operations: int


@dataclass(frozen=True)
class Plan:
    """How a model was cut; prints as a table."""

    stages: tuple[StagePlan, ...]
    note: str = ""  # that one stage has most of the work, if so, and cuts that would be more even
    inputs: tuple[int, ...] = ()  # shape of what the model reads, without the batch, where that is one tensor of floating point

    @property
    def head_share(self) -> float:
        """Operations of all heads over those of the trunk."""
        return sum(stage.head_operations for stage in self.stages) / max(sum(stage.operations for stage in self.stages), 1)

    @property
    def rows(self) -> list[tuple[str, ...]]:
        """What is said of each stage, below the names of the columns."""
        trunk = ("stage", "ends after", "features", "parameters", "multiply-adds", "kept bytes")
        rows: list[tuple[str, ...]] = [(*trunk, "head", "its parameters", "its multiply-adds")]
        for i, stage in enumerate(self.stages, 1):
            own = (f"{stage.parameters:,}", f"{stage.operations / 1e6:.2f} M", f"{stage.kept_bytes / 2**10:.0f} KiB")
            head = (stage.head, f"{stage.head_parameters:,}", f"{stage.head_operations / 1e6:.2f} M")
            rows.append((str(i), stage.cut or "the model", "x".join(map(str, stage.features)), *own, *head))
        return rows

    def __str__(self) -> str:
        widths = [max(map(len, column)) for column in zip(*self.rows, strict=True)]
        lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in self.rows]
        parameters = sum(stage.head_parameters for stage in self.stages)
        heads = f"heads: {parameters:,} parameters, {100 * self.head_share:.1f} % of the trunk's multiply-adds"
        return "\n".join([*lines, heads, *([self.note] if self.note else [])])
