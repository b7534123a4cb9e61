"""Anytime inference: a sample leaves a cascade at the first stage whose belief is sure enough; later stages do not run for it.

i* = min { i : p_i is sure }, or L where none is;   the answer is p_{i*}
"""

import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten, tree_leaves, tree_unflatten

from torchsid.core.beliefs import entropy, to_log_belief
from torchsid.core.calling import Inputs
from torchsid.core.cascade import Cascade, Close, as_cascade
from torchsid.core.side_effects import without_side_effects
from torchsid.core.staged import Segments, StagedCascade, with_mask
from torchsid.cut.boundary import Boundaries
from torchsid.cut.graph import GraphSegments
from torchsid.errors import ConfigError, CutError, did_you_mean

Measure = Literal["confidence", "entropy"]
_SIGN: dict[Measure, str] = {"confidence": ">", "entropy": "<"}
_ALLOWED = "confidence>T with T from 0 to 1 (confidence>0.95), or entropy<T with T of 0 or more, in nats (entropy<0.1)"


@dataclass(frozen=True)
class ExitRule:
    """When a belief is sure: `confidence` (its largest probability) above a threshold, or `entropy` (in nats) below one.

    `ExitRule("confidence", 1.0)` never holds: inference is then the ordinary one.
    """

    measure: Measure
    threshold: float

    @classmethod
    def parse(cls, text: str) -> "ExitRule":
        """Return the rule that a text such as `confidence>0.95` states.

        Raises:
            ConfigError: it states none; lists the allowed forms.
        """
        found = re.fullmatch(r"\s*([a-z]+)\s*([<>]=?|=)\s*([0-9.eE+-]+)\s*", text)
        name, sign, number = found.groups() if found else (text, "", "")
        with suppress(ValueError):
            for measure, own_sign in _SIGN.items():
                limit = 1.0 if measure == "confidence" else float("inf")
                if (name, sign) == (measure, own_sign) and 0.0 <= float(number) <= limit:
                    return cls(measure, float(number))
        hint = did_you_mean(name, _SIGN) if found and name not in _SIGN else ""
        raise ConfigError([f"{text!r} is none{hint}; allowed is {_ALLOWED}"], source="rule to exit by")

    def __str__(self) -> str:
        return f"{self.measure}{_SIGN[self.measure]}{self.threshold!r}"

    def __call__(self, log_belief: Tensor) -> Tensor:
        """Return which samples' beliefs `[B, ..., C]` are sure, at every position, bool `[B]`."""
        certain = self.measure == "confidence"
        sure = confidence(log_belief) > self.threshold if certain else entropy(log_belief) < self.threshold
        return sure.view(len(sure), -1).all(1)


def confidence(log_belief: Tensor) -> Tensor:
    """Return the largest probability, `[..., C]` to `[...]`."""
    return log_belief.max(-1).values.exp()


class Early(NamedTuple):
    """What a batch of B samples left a cascade with."""

    log_belief: Tensor
    """The answers, `[B, ..., C]`: of each sample the belief at its exit."""
    depth: Tensor
    """Stage (from 1) at which each sample was sure, L for those that never were; int64 `[B]`."""
    computed: Tensor
    """Stages that ran for each sample; int64 `[B]`. More than `depth` where a sample could not leave its batch."""


class EarlyExit:
    """Runs a cascade stage by stage, and each sample no further than it needs.

    Sure samples leave the batch, so that the later stages compute on what is left:

    * in a shared cascade, before every stage;
    * in a staged cascade, at every cut that nothing crosses but rows of samples and what all of them share, when `torch.fx` can
      make modules of its pieces. A cascade cut by="boundary" is cut anew that way; it keeps its weights and its cuts. Inputs that
      leave out other arguments than those before are cut anew again.

    Where the batch cannot be divided it goes on whole, and stops at the first cut behind which all its samples have been sure;
    `whole_batches` then says why. Put the cascade into evaluation mode before: BatchNorm in train mode would mix the samples.

    Args:
        cascade: trained, shared or staged.
        rule: an `ExitRule`, or a text such as `"confidence>0.95"`.

    Raises:
        ConfigError: the text states no rule.
        ValueError: the cascade is none.
    """

    def __init__(self, cascade: Cascade, rule: ExitRule | str) -> None:
        self.cascade = as_cascade(cascade, "EarlyExit")
        self.rule = ExitRule.parse(rule) if isinstance(rule, str) else rule
        self.whole_batches = ""
        """From the first batch on: why sure samples wait until all in their batch are sure; empty when they leave it."""
        self._pieces: _Pieces | None = None

    @torch.no_grad()
    def __call__(self, x: Inputs) -> Early:
        """Return answers, exits and the stages that were computed for a batch; samples keep their order."""
        cascade, batch = self.cascade, _Batch(self.cascade, self.rule)
        staged = isinstance(cascade, StagedCascade)

        def close(_: int, tensors: list[Tensor]) -> list[Tensor]:
            tensors, logits = cascade.answer(batch.stage, tensors, batch.before(tensors[0]))
            batch.close(logits)
            if batch.sure:
                raise _AllSureError
            staying = None if staged else batch.divide()
            return tensors if staying is None else [tensor[staying] for tensor in tensors]

        with suppress(_AllSureError):
            if isinstance(cascade, StagedCascade):
                self._run(cascade, x, batch, close)
            else:
                cascade.run(x, close)
        return batch.result()

    def _run(self, cascade: StagedCascade, x: Inputs, batch: "_Batch", close: Close) -> None:
        """Run the stages, which divide a batch of several samples at every cut where that is possible."""
        if cascade.rows is not None and cascade.rows.count(x) == 1:
            cascade.run(x, close)
            return
        known = self._pieces
        if known is None or (
            isinstance(known.segments, GraphSegments) and known.segments is not cascade.segments and not known.segments.takes(x)
        ):
            self._pieces = known = _divisible(cascade, x)
            self.whole_batches = known.whole_batches
        segments = known.segments
        if not isinstance(segments, GraphSegments):
            cascade.run(x, close)
            return
        values, mask = segments.bind(x), cascade.mask_of(x)
        for stage, axes in enumerate([*known.axes, None]):
            piece = segments.piece(stage, stage + 1)
            piece.run(cascade.model, values, with_mask(close, mask))
            values = piece.handed_on
            if axes is None and stage + 1 < cascade.depth:
                self.whole_batches = f"more than rows of samples crosses the cut behind stage {stage + 1}"
            elif axes is not None and (staying := batch.divide()) is not None:
                leaves, structure = tree_flatten(values)
                crossing = zip(leaves, axes, strict=True)
                left = [leaf if axis is None else leaf.index_select(axis, staying) for leaf, axis in crossing]
                values = tree_unflatten(left, structure)
                mask = None if mask is None else mask[staying]


class _Batch:
    """The samples that are being computed (b of them), and what has been decided for all B."""

    def __init__(self, cascade: Cascade, rule: ExitRule) -> None:
        self._cascade, self._rule = cascade, rule
        self.stage = 0  # that answers next, from 0
        self._log_belief: Tensor | None = None  # [b, ..., C], the newest of those that are computed
        self._answers: Tensor | None = None  # [B, ..., C]

    def before(self, features: Tensor) -> Tensor:
        """Return the beliefs `[b, ..., C]` that the next stage reads beside its features; at first the prior."""
        if self._log_belief is None:
            self._log_belief = self._cascade.prior(features)
            self._rows = torch.arange(len(self._log_belief), device=features.device)  # [b], which samples of the batch these are
            self._open = torch.ones_like(self._rows, dtype=torch.bool)  # [B], whether they are not sure yet
            self._depth, self._computed = torch.zeros_like(self._rows), torch.zeros_like(self._rows)  # [B]
        return self._log_belief

    def close(self, logits: Tensor) -> None:
        """Take the logits `[b, ..., C]` of one more stage."""
        self.stage += 1
        self._log_belief = to_log_belief(logits)
        if self._answers is None:
            self._answers = torch.empty_like(self._log_belief)
        self._computed[self._rows] += 1
        here = self._open[self._rows]
        waiting, log_belief = self._rows[here], self._log_belief[here]
        self._answers[waiting] = log_belief
        self._depth[waiting] += 1
        self._open[waiting] = ~self._rule(log_belief)

    @property
    def sure(self) -> bool:
        """Whether no sample needs a further stage."""
        return not bool(self._open.any())

    def divide(self) -> Tensor | None:
        """Drop the sure samples; return which rows of the running batch stay, int64, or None when all do."""
        assert self._log_belief is not None
        staying = self._open[self._rows].nonzero().flatten()
        if len(staying) == len(self._rows):
            return None
        self._rows, self._log_belief = self._rows[staying], self._log_belief[staying]
        return staying

    def result(self) -> Early:
        assert self._answers is not None
        return Early(self._answers, self._depth, self._computed)


class _AllSureError(Exception):
    """Leaves the model in the middle of its forward pass."""


class _Pieces(NamedTuple):
    """What runs the stages of a staged cascade, and along which axes a batch can be divided between them."""

    segments: Segments
    axes: Sequence[Sequence[int | None] | None] = ()
    """Behind every stage but the last, for each value that crosses, the axis of the samples, None where all share it; or None for
    them all where one cannot be divided."""
    whole_batches: str = ""
    """Why the batch must stay whole, if it must."""


def _divisible(cascade: StagedCascade, x: Inputs) -> _Pieces:
    own, name = cascade.segments, type(cascade.model).__name__
    whole_because = partial(_Pieces, own, ())
    if not isinstance(own, Boundaries | GraphSegments):
        return whole_because(f"the pieces of {name} are no modules")
    if cascade.rows is None:
        return whole_because("which axis of the inputs counts the samples cannot be told")
    try:
        graph = own if isinstance(own, GraphSegments) else GraphSegments(cascade.model, own.cuts, x)
    except CutError:
        return whole_because(f"torch.fx makes no modules of the pieces of {name}")
    one = cascade.rows.take(x, slice(1))
    whole, trained = _read(own, cascade.model, x), _read(own, cascade.model, one)
    try:
        new = _read(graph, cascade.model, one)
        crossing = [_crossing(graph, cascade.model, each) for each in (one, cascade.rows.twice(one))]
    except Exception as error:  # of the model's own code, on a way that these inputs do not take
        return whole_because(f"the pieces that torch.fx makes of {name} cannot run these inputs ({error})")
    if len(trained) != len(new) or not all(map(torch.equal, trained, new)):
        return whole_because("where several tensors cross a cut, the heads would read another one than they were trained on")
    first = [axes.batch_first(features)[:1] for axes, features in zip(cascade.axes, whole, strict=True)]
    alone = [axes.batch_first(features) for axes, features in zip(cascade.axes, trained, strict=True)]
    if not all(a.shape == b.shape and torch.allclose(a, b, rtol=0.01, atol=0.01) for a, b in zip(first, alone, strict=True)):
        return whole_because("the samples of a batch are no rows of the features, or depend on each other or on chance")
    return _Pieces(graph, [_axes(*values) for values in zip(*crossing, strict=True)])


def _crossing(segments: GraphSegments, model: nn.Module, x: Inputs) -> list[tuple[Any, ...]]:
    """Return the values that cross each cut, those in a tuple one by one."""
    values, found = segments.bind(x), []
    with without_side_effects(model):
        model.eval()
        for stage in range(len(segments.modules) - 1):
            piece = segments.piece(stage, stage + 1)
            piece.run(model, values, lambda _, tensors: tensors)
            values = piece.handed_on
            found.append(tuple(tree_leaves(values)))
    return found


def _axes(one: tuple[Any, ...], two: tuple[Any, ...]) -> list[int | None] | None:
    """Return for each value that crosses a cut, of one sample and of two, its axis of samples; None if one has several."""
    axes: list[int | None] = []
    for a, b in zip(one, two, strict=True):
        sizes = (a.shape, b.shape) if isinstance(a, Tensor) else ((a,), (b,))
        grown = [axis for axis, (before, after) in enumerate(zip(*sizes, strict=True)) if before != after]
        if len(grown) > 1 or (grown and not isinstance(a, Tensor)):
            return None
        axes.append(grown[0] if grown else None)
    return axes


def _read(segments: Segments, model: nn.Module, x: Inputs) -> list[Tensor]:
    """Return what the head of each stage reads; nothing where no tensor crosses the cut."""
    read: list[Tensor] = []

    def close(_: int, tensors: list[Tensor]) -> list[Tensor]:
        read.extend(tensor.clone() for tensor in tensors[:1])
        return tensors

    with without_side_effects(model):
        segments.run(model.eval(), x, close)
    return read
