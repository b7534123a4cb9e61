"""Cut any classifier into stages that train by local losses."""

import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from operator import index
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from torchsid import heads
from torchsid.core.calling import Inputs, batch_size
from torchsid.core.cascade import Positions
from torchsid.core.side_effects import without_side_effects
from torchsid.core.staged import OwnHead, Plan, Segments, StagedCascade, StagePlan
from torchsid.cut.boundary import Boundaries
from torchsid.cut.cuts import Balance, candidates, choose, later_layers, lopsided, named
from torchsid.cut.graph import GraphSegments
from torchsid.cut.profile import Profile, parameters_behind, profile
from torchsid.errors import CutError, HeadError, unknown_name
from torchsid.heads.cost import multiply_adds, parameters

Head = str | Callable[[Tensor, int], nn.Module]
By = Literal["boundary", "graph"]
_AUTO = {4: ("thin", "conv", "linear"), 3: ("linear",), 2: ("mlp", "linear")}  # for maps, tokens, vectors: the first that fits


@torch.inference_mode(False)
def staged_cascade(
    model: nn.Module,
    num_classes: int,
    stages: int | Sequence[str],
    example: Inputs,
    *,
    balance: Balance = "work",
    by: By = "boundary",
    head: Head = "auto",
    head_settings: Mapping[str, Any] = {},
    residual: bool = False,
    max_head_share: float = 0.25,
    positions: Positions | None = None,
    log_prior: Tensor | None = None,
) -> StagedCascade:
    """Cut a classifier into stages, give each a belief head, and return the cascade that SID trains.

    The model is neither copied nor changed: `cascade.model` is the one that was given. The last stage ends with the model's own
    head, so the other heads can be dropped after training.

    Args:
        model: maps its inputs to logits `[B, ..., C]` (a tensor, a field `logits`, or the first of a tuple).
        num_classes: C.
        stages: their number, with the cuts chosen by `balance`; or the names of the submodules after which to cut.
        example: a small batch of inputs: a tensor, a tuple, or a mapping of names.
        balance: what is to be even over the stages: `"work"` (operations), `"memory"` (bytes kept for backward; the peak is then as
            low as can be, but the first stages are small and the last answers worse) or `"equal"` (pieces).
        by: `"boundary"` closes each stage by a forward hook and runs any model as it is; `"graph"` makes modules of the stages,
            which can be compiled or live elsewhere, for models that `torch.fx` can trace.
        head: a name of `torchsid.heads.names()`; `"auto"` takes `"thin"` for maps, `"linear"` for tokens and `"mlp"` for
            vectors, and a cheaper one where that costs too much; or a function `(features, num_classes) -> module` that maps
            `(features, log_belief)` to logits.
        head_settings: of the head that `head` names, such as `{"width": 0.5}` of `"thin"`.
        residual: heads add their logits to the previous log-belief and begin as the identity on beliefs. The features then learn
            what is left to learn, which the model's own head, the last, cannot do without: it loses accuracy by that.
        max_head_share: the largest number of multiply-adds of a head, as a share of an even stage's (the trunk's over the stages).
        positions: where a sample's beliefs are, as the model's logits say by default: one for `[B, C]`; one at each token for
            `[B, T, C]` where the stages' features are `[B, T, D]`; or else M of them for `[B, M, C]`.
        log_prior: `p_0` as log-probabilities `[C]`; uniform by default.

    Raises:
        CutError: the model cannot be cut so; names the submodule, the tensor or the parameter in the way.
        HeadError: a head cannot read a stage's features, or costs too much.
    """
    if by not in get_args(By):
        raise CutError(unknown_name("by", by, get_args(By)))
    if head_settings and (head == "auto" or not isinstance(head, str)):
        raise HeadError(f"head_settings={dict(head_settings)} belong to a head that is named: choose head from {heads.names()}")
    stages, num_classes = _stages(stages), index(num_classes)
    example = _own_copy(example)
    found = profile(model, example)
    points = candidates(found)
    ends = choose(found, stages, balance) if isinstance(stages, int) else named(found, stages, carries_skips=by == "graph")
    cuts = tuple(end.name for end in ends[:-1])
    note = lopsided(found, ends, lambda others: by == "graph" or GraphSegments(model, others, example))
    if note and isinstance(stages, int) and balance == "work":
        warnings.warn(note, stacklevel=3)  # past the decorator
    within_checkpoints = frozenset(end.name for end in ends if end.recomputed)
    segments: Segments = GraphSegments(model, cuts, example) if by == "graph" else Boundaries(cuts, within_checkpoints)
    starts = [-1, *(end.index for end in ends[:-1])]
    spans = list(zip(starts, (end.index for end in ends), strict=True))
    owned = [found.parameters(*span) + found.idle_parameters(*span) for span in spans]
    features, overwritten = _trial(segments, model, example, owned)
    *read, logits = features
    if logits.shape[-1] != num_classes:
        shape = list(logits.shape)
        raise CutError(f"the model returns logits {shape}, but num_classes={num_classes}: its last layer must give so many")
    if positions is None:
        where = tuple(logits.shape[1:-1])
        positions = "tokens" if where and all(each.shape[1:-1] == logits.shape[1:-1] for each in read) else where
    budget = max(int(max_head_share * found.operations(-1, found.exits[-1].index) / len(ends)), 1)
    built: list[tuple[str, nn.Module]] = []
    for stage, (end, tensor) in enumerate(zip(ends, read, strict=False), 1):
        later = later_layers(model, found, points, end) if isinstance(head, str) else []
        make = partial(heads.create, residual=residual, later=later, budget=budget, positions=positions, settings=head_settings)
        try:
            built.append(_head(head, tensor, num_classes, make))
        except HeadError as error:
            why = f"{error} (here by max_head_share={max_head_share})"
            raise HeadError(f"stage {stage}, which ends after {end.name!r}: {why}") from None
    like = next(model.parameters())
    cascade = StagedCascade(
        model,
        [*(head.to(like.device, like.dtype) for _, head in built), OwnHead()],
        segments,
        num_classes,
        owned=owned,
        overwritten=overwritten,
        positions=positions,
        log_prior=log_prior,
    ).to(like.device)
    cascade.log_prior = cascade.log_prior.to(torch.promote_types(like.dtype, torch.float32))
    kinds = [*(kind for kind, _ in built), "the model's own"]
    rows = zip(spans, (*cuts, ""), features, kinds, strict=True)
    cascade.plan = Plan(tuple(_row(cascade, found, stage, *row) for stage, row in enumerate(rows)), note)
    return cascade


def _stages(stages: int | Sequence[str]) -> int | tuple[str, ...]:
    """Return the number of stages, of whatever integer type, or the names of the cuts."""
    if isinstance(stages, str):
        return (stages,)
    with suppress(TypeError):
        return index(stages)  # type: ignore[arg-type]
    names = tuple(stages) if isinstance(stages, Iterable) else ()
    if not isinstance(stages, Iterable) or not all(isinstance(name, str) for name in names):
        raise CutError(f"stages={stages!r}: give their number, or the names of the submodules after which to cut")
    return names


def _head(head: Head, features: Tensor, num_classes: int, make: Callable[..., nn.Module]) -> tuple[str, nn.Module]:
    """Return kind and head of one stage; `"auto"` takes the first kind of its list that fits the budget."""
    if callable(head):
        made = head(features, num_classes)
        return type(made).__name__, made
    kinds = _AUTO.get(features.dim(), ("linear",)) if head == "auto" else (head,)
    for kind in kinds[:-1]:
        with suppress(HeadError):
            return kind, make(kind, features, num_classes)
    return kinds[-1], make(kinds[-1], features, num_classes)


def _own_copy(example: Inputs) -> Inputs:
    """Return a copy of the example with two samples or more.

    BatchNorm in train mode needs two; and a few rows of a large tensor would count as kept bytes with all of its storage.
    """
    alone = batch_size(example) == 1

    def copy(value: object) -> object:
        if not isinstance(value, Tensor):
            return value
        return torch.cat([value, value]).detach() if alone and len(value) == 1 else value.detach().clone()

    copied: Inputs = tree_map(copy, dict(example) if isinstance(example, Mapping) else example)
    return copied


def _trial(segments: Segments, model: nn.Module, example: Inputs, owned: list[list[str]]) -> tuple[list[Tensor], set[int]]:
    """Run the segments in train mode without leaving a trace, each detached from those before, as in training.

    Returns:
        What the head of each stage reads, the last the model's logits; and the stages whose output is changed in place behind the
        cut, which PyTorch counts as a new version of the tensor.

    Raises:
        CutError: the loss of a stage would reach another stage's parameters.
    """
    read: list[Tensor] = []
    handed_on: list[tuple[int, Tensor, int]] = []
    owner = {model.get_parameter(name): stage for stage, names in enumerate(owned) for name in names}
    names = {parameter: name for name, parameter in model.named_parameters()}

    def close(stage: int, tensors: list[Tensor]) -> list[Tensor]:
        if not tensors:
            raise CutError(f"no tensor crosses the cut behind stage {stage + 1}: name a submodule whose output is read behind it")
        read.append(tensors[0].detach())
        reached = parameters_behind(tensors)
        for parameter in names:
            if parameter in reached and owner.get(parameter, stage) != stage:
                raise CutError(
                    f"the loss of stage {stage + 1} would reach {names[parameter]} of stage {owner[parameter] + 1}, past the cut "
                    "between them: name other cuts in stages, or use by='graph', which carries skip connections along"
                )
        tensors = [tensor.detach() for tensor in tensors]
        handed_on.extend((stage, tensor, tensor._version) for tensor in tensors)
        return tensors

    with without_side_effects(model), torch.enable_grad():
        segments.run(model.train(), example, close)
    return read, {stage for stage, tensor, version in handed_on if tensor._version != version}


def _row(
    cascade: StagedCascade, found: Profile, stage: int, span: tuple[int, int], cut: str, features: Tensor, kind: str
) -> StagePlan:
    head = cascade.heads[stage]
    return StagePlan(
        cut=cut,
        features=tuple(features.shape[1:]),
        parameters=sum(cascade.model.get_parameter(name).numel() for name in cascade.owned[stage]),
        operations=found.operations(*span),
        kept_bytes=found.kept_bytes(*span),
        head=kind,
        head_parameters=parameters(head),
        head_operations=multiply_adds(head, features, cascade.prior(features)),
    )
