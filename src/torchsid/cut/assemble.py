"""Cut any classifier into stages that train by local losses."""

import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import cache, partial
from itertools import pairwise
from operator import index
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map_only

from torchsid import heads
from torchsid.core.axes import Axes, arranged, channels_by_rank
from torchsid.core.beliefs import uniform_prior
from torchsid.core.calling import Inputs, call, logits_of
from torchsid.core.cascade import Positions
from torchsid.core.masks import MaskOf, arguments_of, asks_for_mask, overlooked
from torchsid.core.readout import ReadoutCopy
from torchsid.core.rows import find_rows
from torchsid.core.side_effects import without_side_effects
from torchsid.core.staged import OwnHead, Plan, Segments, StagedCascade, StagePlan
from torchsid.cut.boundary import Boundaries
from torchsid.cut.channels import channel_axis
from torchsid.cut.cuts import Balance, candidates, choose, later_layers, lopsided, named
from torchsid.cut.graph import GraphSegments
from torchsid.cut.profile import Exit, Profile, parameters_behind, profile
from torchsid.errors import CutError, HeadError, unknown_name
from torchsid.heads.cost import multiply_adds, parameters

Head = str | Callable[[Tensor, int], nn.Module]
By = Literal["boundary", "graph"]
_MASK = "mask, a function of the inputs that returns [B, T], 1 where a token counts"
_AUTO = {4: ("thin", "conv", "linear"), 3: ("linear",), 2: ("mlp", "linear")}  # for maps, tokens, vectors: the first that fits
# With their settings, where each token is answered.
_AUTO_TOKENS: Sequence[tuple[str, dict[str, Any]]] = (("readout", {}), ("readout", {"blocks": 0}), ("linear", {}))


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
    channels: int | None = None,
    mask: MaskOf | None = None,
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
        head: a name of `torchsid.heads.names()`; `"auto"` takes `"thin"` for maps, `"linear"` for tokens, `"readout"` where each
            token is answered and a linear layer makes the logits (without its block where that costs too much), and `"mlp"` for
            vectors, and a cheaper one where that costs too much; or a function `(features, num_classes) -> module` that maps
            `(features, log_belief)` to logits.
        head_settings: of the head that `head` names, such as `{"width": 0.5}` of `"thin"`.
        residual: heads add their logits to the previous log-belief and begin as the identity on beliefs. The features then learn
            what is left to learn, which the model's own head, the last, cannot do without: it loses accuracy by that.
        max_head_share: the largest number of multiply-adds of a head, as a share of an even stage's (the trunk's over the stages).
            Where each token is answered, what makes logits of its vector is not counted.
        positions: where a sample's beliefs are, as the model's logits say by default: one for `[B, C]`; one at each token for
            `[B, T, C]` where the stages' features are `[B, T, D]`; or else M of them for `[B, M, C]`.
        log_prior: `p_0` as log-probabilities `[C]`; uniform by default.
        channels: the axis of the channels in features of more than two axes, as the trunk makes them: 1 of `[B, C, T]`, −1 of
            `[B, H, W, C]`. By default what makes and what reads them tells; where nothing does, it is the last of three axes and
            the second of four or more, which a warning says.
        mask: a function of the inputs that returns which tokens count, `[B, T]`, 0 at padding, or None. By default the input
            `attention_mask` says so. Heads then pool the others alone, and one of your own is told by a parameter `mask`.

    Raises:
        CutError: the model cannot be cut so; names the submodule, the tensor or the parameter in the way.
        HeadError: a head cannot read a stage's features, or costs too much.
    """
    if by not in get_args(By):
        raise CutError(unknown_name("by", by, get_args(By)))
    if head_settings and (head == "auto" or not isinstance(head, str)):
        raise HeadError(f"head_settings={dict(head_settings)} belong to a head that is named: choose head from {heads.names()}")
    stages, num_classes = _stages(stages), index(num_classes)
    if num_classes < 2:
        raise CutError(f"num_classes={num_classes}: a belief needs 2 classes or more")
    example = _own_copy(model, example)
    found = profile(model, example)
    points = candidates(found)
    ends = choose(found, stages, balance) if isinstance(stages, int) else named(found, stages, carries_skips=by == "graph")
    cuts = tuple(end.name for end in ends[:-1])
    note = lopsided(found, ends, lambda others: by == "graph" or GraphSegments(model, others, example))
    if note and isinstance(stages, int) and balance == "work":
        warnings.warn(note, stacklevel=3)  # past the decorator
    within_checkpoints = frozenset(end.name for end in ends if end.recomputed)
    segments: Segments = GraphSegments(model, cuts, example) if by == "graph" else Boundaries(cuts, within_checkpoints)
    spans = list(pairwise([-1, *(end.index for end in ends)]))
    owned = [found.parameters(*span) + found.idle_parameters(*span) for span in spans]
    features, overwritten = _trial(segments, model, example, owned)
    axes = [_axes(model, found, end, channels, says=isinstance(head, str)) for end in ends[:-1]]
    known = dict(zip((end.index for end in ends), axes, strict=False))

    @cache
    def axes_of(point: Exit) -> Axes:
        return known.get(point.index) or _axes(model, found, point)

    *read, logits = [each.batch_first(tensor) for each, tensor in zip([*axes, Axes()], features, strict=True)]
    if logits.shape[-1] != num_classes:
        shape = list(logits.shape)
        raise CutError(f"the model returns logits {shape}, but num_classes={num_classes}: its last layer must give so many")
    if positions is None:
        where = tuple(logits.shape[1:-1])
        forms = [arranged(tensor, each.channels) for tensor, each in zip(read, axes, strict=True)]
        positions = "tokens" if where and all(each.shape[1:-1] == logits.shape[1:-1] for each in forms) else where
    budget = int(min(max(max_head_share * found.operations(-1, found.exits[-1].index) / len(ends), 1), 2**62))
    layer, own_readout = _readout(model, found, num_classes)
    earlier = {id(model.get_parameter(name)) for names in owned[:-1] for name in names}
    readout = ReadoutCopy(layer) if layer and id(layer.weight) not in earlier else None
    built: list[tuple[str, nn.Module]] = []
    for stage, (end, tensor, each) in enumerate(zip(ends, read, axes, strict=False), 1):
        later = later_layers(model, found, points, end, axes_of) if isinstance(head, str) else []
        make = partial(heads.create, residual=residual, later=later, readout=readout, budget=budget, positions=positions)
        make = partial(make, place=(stage - 1, len(ends)), settings=head_settings)
        try:
            built.append(_head(head, tensor, num_classes, each.channels, positions, make))
        except HeadError as error:
            why = f"{error} (here by max_head_share={max_head_share})"
            raise HeadError(f"stage {stage}, which ends after {end.name!r}: {why}") from None
    prior = uniform_prior(num_classes) if log_prior is None else log_prior
    cascade = StagedCascade(
        model,
        [*(made.to(tensor.device, tensor.dtype) for (_, made), tensor in zip(built, read, strict=True)), OwnHead()],
        segments,
        num_classes,
        owned=owned,
        overwritten=overwritten,
        positions=positions,
        log_prior=prior.to(logits.device, torch.promote_types(logits.dtype, torch.float32)),
        axes=[*axes, Axes()],
        rows=found.rows,
        mask=mask,
        readout=readout if any(getattr(made, "readout", None) is readout for _, made in built) else None,
        own_readout=own_readout,
    )
    _follow_mask(cascade, features, example, own_mask=mask is not None)
    kinds = [*(kind for kind, _ in built), "the model's own"]
    rows = zip(spans, (*cuts, ""), features, kinds, strict=True)
    inputs = tuple(example.shape[1:]) if isinstance(example, Tensor) and example.is_floating_point() else ()
    cascade.plan = Plan(tuple(_row(cascade, found, stage, *row) for stage, row in enumerate(rows)), note, inputs)
    return cascade


def _stages(stages: int | Sequence[str]) -> int | tuple[str, ...]:
    """Return the number of stages, of whatever integer type, or the names of the cuts."""
    if isinstance(stages, str):
        return (stages,)
    with suppress(TypeError):
        return index(stages)  # type: ignore[arg-type]
    names = tuple(stages) if isinstance(stages, Iterable) else (None,)
    if all(isinstance(name, str) for name in names):
        return names  # type: ignore[return-value]
    raise CutError(f"stages={stages!r}: give their number, or the names of the submodules after which to cut")


def _head(
    head: Head,
    features: Tensor,
    num_classes: int,
    channels: int | None,
    positions: Positions,
    make: Callable[..., nn.Module],
) -> tuple[str, nn.Module]:
    """Return kind and head of one stage; `"auto"` takes the first kind of its list that fits the budget."""
    if callable(head):
        made = head(features, num_classes)
        return type(made).__name__, made
    if head != "auto":
        return head, make(head, features, num_classes, channels=channels)
    form = arranged(features, channels)
    kinds = ("linear",) if form.shape[2:] == (1, 1) else _AUTO.get(form.dim(), ("linear",))
    *tried, (kind, settings) = _AUTO_TOKENS if positions == "tokens" else tuple((each, {}) for each in kinds)
    for name, own in tried:
        with suppress(HeadError):
            return name, make(name, features, num_classes, channels=channels, settings=own)
    return kind, make(kind, features, num_classes, channels=channels, settings=settings)


def _readout(model: nn.Module, found: Profile, num_classes: int) -> tuple[nn.Linear | None, str]:
    """Return the linear layer that runs last, if it has an output a class; and its name, if what it returns are the logits."""
    for exit_ in reversed(found.exits):
        layer = model.get_submodule(exit_.name)
        if isinstance(layer, nn.Linear):
            last = layer if layer.out_features == num_classes else None
            return last, exit_.name if last and exit_.returns == found.exits[-1].returns else ""
    return None, ""


def _axes(model: nn.Module, found: Profile, end: Exit, channels: int | None = None, *, says: bool = False) -> Axes:
    """Return the axes of what a head reads at an exit; wrong `channels` are a CutError, and with `says` it warns of a guess."""
    shape, batch = list(end.shape), found.batch_axis(end)
    assert batch is not None  # or it would be no cut
    if (rank := len(shape)) < 3:
        return Axes(batch)
    own = channel_axis(model, found, end, batch) if channels is None else channels
    if own is None:
        own = [axis for axis in range(rank) if axis != batch][channels_by_rank(rank) - 1]
        taken = f"axis {own} is taken, as usual for {rank} axes; give channels to say so, or to say another"
        if says:
            told = f"the modules around {end.name!r} do not tell which axis of {shape} has the channels"
            warnings.warn(f"{told}: {taken}", stacklevel=3)
    if not -rank <= own < rank or own % rank == batch:
        raise CutError(f"channels={own} is no axis of channels in {shape}, behind {end.name!r}, whose samples are axis {batch}")
    own = own % rank + (own % rank < batch)  # with the batch first
    return Axes(batch, None if own == channels_by_rank(rank) else own)


def _own_copy(model: nn.Module, example: Inputs) -> Inputs:
    """Return a copy of the example with two samples or more, where it can be doubled; a ValueError where it is none.

    BatchNorm in train mode needs two; and a few rows of a large tensor would count as kept bytes with all of its storage.
    """
    if not isinstance(example, Tensor | tuple | Mapping):
        kind = type(example).__name__
        raise ValueError(f"no tensor among the inputs ({kind}): give a tensor, a tuple or a mapping that holds one")
    given = dict(example) if isinstance(example, Mapping) else example
    copied: Inputs = tree_map_only(Tensor, lambda value: value.detach().clone(), given)
    if not any(1 in leaf.shape[:2] for leaf in tree_leaves(copied) if isinstance(leaf, Tensor)):
        return copied

    def answers(x: Inputs) -> int:
        return len(logits_of(call(model, x)))

    with suppress(Exception), without_side_effects(model), torch.no_grad():  # what is wrong with it, the profile says
        model.eval()
        rows = find_rows(answers, copied, 1) if answers(copied) == 1 else None
        return copied if rows is None else rows.twice(copied)
    return copied


def _follow_mask(cascade: StagedCascade, features: Sequence[Tensor], example: Inputs, own_mask: bool) -> None:
    """Find the tokens of the inputs among those of each stage, and say which heads read padding all the same.

    A mask that is one to be added to scores is a CutError.
    """
    given, mask, stages = cascade.mask(example), cascade.mask_of(example), range(cascade.depth - 1)
    if mask is None:
        unread = "" if own_mask else overlooked(arguments_of(cascade.model), example)
        pooled = [str(stage + 1) for stage in stages if cascade.axes[stage].arranged(features[stage]).dim() == 3]
        if unread and pooled and cascade.positions != "tokens":
            advice = f"if the input {unread} says where padding is, give {_MASK}; if not, mask=lambda x: None"
            warnings.warn(f"the heads of stages {', '.join(pooled)} read every token: {advice}", stacklevel=3)
        return
    if given is not None and bool((given < 0).any()):
        what = f"the mask goes from {given.min().item():.4g} to {given.max().item():.4g}, as one that is added to scores"
        raise CutError(f"{what}: give {_MASK} and 0 at padding, such as mask=lambda x: x['attention_mask'] == 0")

    def more(read: Sequence[Tensor], length: int) -> list[int]:
        """Return how many tokens each stage has more than the inputs; 0 where it reads none."""
        forms = [cascade.axes[stage].arranged(read[stage]) for stage in stages]
        return [form.shape[1] - length if form.dim() == 3 else 0 for form in forms]

    length = mask.shape[1]
    found = longer = more(features, length)
    if any(found):
        last = tree_map_only(Tensor, lambda x: torch.cat([x, x[:, -1:]], 1) if x.shape[:2] == mask.shape else x, example)
        with suppress(Exception):  # a model may take no more tokens
            longer = more(_trial(cascade.segments, cascade.model, last, cascade.owned)[0], length + 1)
    fits = [0 if k == 0 or k != other else 1 if k == 1 else None for k, other in zip(found, longer, strict=True)]
    cascade.axes = (*(replace(axes, in_front=k) for axes, k in zip(cascade.axes, fits, strict=False)), cascade.axes[-1])
    deaf = []
    for stage in stages:
        if getattr(head := cascade.heads[stage], "reads_mask", asks_for_mask(head)):
            cascade.fit(stage, features[stage], mask)  # which warns
        elif cascade.axes[stage].arranged(features[stage]).dim() == 3:
            deaf.append(str(stage + 1))
    if deaf:
        advice = "choose 'linear', 'mlp', 'thin' or 'attention', or give the forward of your own a parameter mask"
        warnings.warn(f"the heads of stages {', '.join(deaf)} read padding: theirs has no parameter mask; {advice}", stacklevel=3)


def _trial(segments: Segments, model: nn.Module, example: Inputs, owned: Sequence[Sequence[str]]) -> tuple[list[Tensor], set[int]]:
    """Run the segments in train mode without leaving a trace, each detached from those before, as in training.

    Returns what the head of each stage reads, the last the model's logits; and the stages whose output is changed in place behind
    the cut, which PyTorch counts as a new version. A loss that would reach another stage's parameters is a CutError.
    """
    read: list[Tensor] = []
    handed_on: list[tuple[int, Tensor, int]] = []
    owner = {model.get_parameter(name): stage for stage, names in enumerate(owned) for name in names}
    names = {parameter: name for name, parameter in model.named_parameters()}

    def close(stage: int, tensors: list[Tensor]) -> list[Tensor]:
        if not tensors:
            raise CutError(f"no tensor crosses the cut behind stage {stage + 1}: name a submodule whose output is read behind it")
        read.append(tensors[0].detach())
        reached = parameters_behind(tensors[:1])  # what is returned beside it, and read by nothing, may be older
        for parameter in names:
            if parameter in reached and owner.get(parameter, stage) != stage:
                past = f"{names[parameter]} of stage {owner[parameter] + 1}, past the cut between them"
                way_out = "name other cuts in stages, or use by='graph', which carries skip connections along"
                raise CutError(f"the loss of stage {stage + 1} would reach {past}: {way_out}")
        tensors = [tensor.detach() for tensor in tensors]
        handed_on.extend((stage, tensor, tensor._version) for tensor in tensors)
        return tensors

    with without_side_effects(model), torch.enable_grad():
        segments.run(model.train(), example, close)
    return read, {stage for stage, tensor, version in handed_on if tensor._version != version}


def _row(
    cascade: StagedCascade, found: Profile, stage: int, span: tuple[int, int], cut: str, features: Tensor, kind: str
) -> StagePlan:
    head, read = cascade.heads[stage], cascade.axes[stage].batch_first(features)
    told = {"mask": None} if asks_for_mask(head) else {}
    return StagePlan(
        cut=cut,
        features=tuple(read.shape[1:]),
        parameters=sum(cascade.model.get_parameter(name).numel() for name in cascade.owned[stage]),
        operations=found.operations(*span),
        kept_bytes=found.kept_bytes(*span),
        head=kind,
        head_parameters=parameters(head),
        head_operations=multiply_adds(head, read, cascade.prior(features, stage), **told),
    )
