"""Where the stages of a cascade are, and what crosses from worker to worker: two ways for the two kinds of cascade.

A *staged cascade* is cut between workers. The values of the cut, beliefs and losses go to the next worker as one message, before
the backward pass of the last stage here; nothing comes back, but for a readout that heads share (`readout.py`).

A *shared cascade* has its extractor on the first worker and groups of stages on the others. Features pass from worker to worker at
once. Beliefs follow from group to group, with the sum of `∂L_i/∂z` so far; each group adds its own in the order of the stages, and
the last one sends the sum back:

    extractor ── z ──▶ stages 1 … a ── z ──▶ stages a+1 … b ── z ──▶ … last group
                                    ── p_a, Σ∂L/∂z ──▶            ──▶      │
        ▲─────────────────────────── Σ_i ∂L_i/∂z ──────────────────────────┘
"""

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from operator import itemgetter
from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn
from torch.func import functional_call

from torchsid.core.beliefs import to_log_belief
from torchsid.core.calling import Inputs
from torchsid.core.cascade import Cascade
from torchsid.core.combine import Sum
from torchsid.core.lazy_logits import LazyLogits, travels
from torchsid.core.readout import ReadoutCopy
from torchsid.core.shared import SharedCascade, Stage
from torchsid.core.side_effects import without_side_effects
from torchsid.core.staged import StagedCascade
from torchsid.cut.graph import GraphSegments
from torchsid.distributed.channel import Handover, Incoming, Outgoing, Wire
from torchsid.distributed.readout import SharedReadout
from torchsid.distributed.world import World
from torchsid.errors import CutError, ScheduleError

_ANSWERS = 1  # the tag of the second channel between two groups


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Which worker has which stages, and how they are connected."""

    world: World
    """This worker's place."""
    assignment: Sequence[range]
    """The stages of every position, counted from 0; none where a shared cascade's extractor is."""
    batch: Inputs
    """As many samples as any batch has, to see what crosses."""
    queue: int
    """The most messages under way between two workers."""
    wire: Wire
    """How features travel."""
    lazy: bool = False
    """Whether logits can wait, so that beliefs travel as the hidden states that they follow from, where that is less."""
    compact: bool = False
    """Whether they do so even where it is not less, since candidates are told apart of logits that wait."""

    @property
    def own(self) -> range:
        """The stages of this worker."""
        return self.assignment[self.world.position]

    def outgoing(self, largest: Handover, *, step: int = 1, tag: int = 0) -> Outgoing:
        """Return a channel to another worker; see `Outgoing`."""
        return Outgoing(self.world, largest, queue=self.queue, wire=self.wire, step=step, tag=tag)

    def incoming(self, largest: Handover, *, step: int = 1, tag: int = 0) -> Incoming:
        """Return a channel from another worker; see `Incoming`."""
        return Incoming(self.world, largest, queue=self.queue, step=step, tag=tag)


class Place(ABC):
    """What one worker has of a cascade, how a batch comes to it, and what it sends on."""

    cascade: Cascade
    """The stages here as a cascade of their own; where the extractor is, the whole, of which nothing else is left."""
    outgoing: Sequence[Outgoing]
    """The channels to other workers."""
    lazy: bool = False
    """Whether logits wait, and beliefs travel as hidden states."""
    sends_before_backward: ClassVar[bool] = False
    """Whether all that goes on is known as soon as the last stage here has its belief."""

    def belief(self, hidden: Tensor) -> LazyLogits:
        """Return the belief of a stage that is not the last, of its hidden state `[B, ..., D]`, where logits wait."""
        raise NotImplementedError

    @abstractmethod
    def receive(self, x: Inputs, empty: Handover) -> Handover:
        """Return what the stages here read, and what is known to those before; `empty` where it begins, with the batch `x`."""

    def before(self, arrived: Handover) -> Handover:
        """Return what the stages before have found out, which may have to be waited for."""
        return arrived

    @abstractmethod
    def send(self, arrived: Handover, found: Handover) -> None:
        """Send on what has been found out, and the values that go with it."""

    def begin_step(self) -> None:  # noqa: B027 - few parts follow the steps
        """Take notice that a step begins, of one batch or of several parts of it."""

    def settle(self) -> None:  # noqa: B027 - stages wait for nothing
        """Wait for what still changes the tensors here."""


class Piece(Place):
    """Some consecutive stages of a staged cascade. A mask of the tokens crosses with what they read, last.

    Args:
        cascade: the whole network, cut by its graph. It keeps the tensors of this worker under their names, so that its state dict
            is a part of the whole one.
        layout: of all stages.

    Raises:
        CutError: what crosses a cut cannot be sent.
    """

    sends_before_backward = True

    def __init__(self, cascade: StagedCascade, layout: Layout) -> None:
        (crossing, self.lazy), own, world = _crossing(cascade, layout), layout.own, layout.world
        self._residual = bool(getattr(cascade.heads[0], "residual", False))
        segments = cast(GraphSegments, cascade.segments)
        self._bind, self._piece = segments.bind, segments.piece(own.start, own.stop)
        self.cascade = StagedCascade(
            cascade.model,
            cascade.heads[own.start : own.stop],
            self._piece,
            cascade.num_classes,
            owned=cascade.owned[own.start : own.stop],
            overwritten={stage - own.start for stage in cascade.overwritten if stage in own},
            positions=cascade.positions,
            log_prior=cascade.log_prior,
            axes=cascade.axes[own.start : own.stop],
            mask=itemgetter(-1),
            own_readout=cascade.own_readout,
        )
        self._copy, self._mask_of = cascade.readout, cascade.mask_of
        self._readout = SharedReadout(cascade.readout, world) if cascade.readout else None
        shared = [cascade.readout] if cascade.readout else []
        _drop_others(cascade, (self.cascade.heads, *self._piece.modules, *shared))
        self._incoming = None if world.is_first else layout.incoming(crossing[world.position - 1])
        self._onward = [] if world.is_last else [layout.outgoing(crossing[world.position])]
        self.outgoing = [*self._onward, *(self._readout.outgoing if self._readout else ())]

    def receive(self, x: Inputs, empty: Handover) -> Handover:
        """Return what crosses the cut before the stages."""
        return self._incoming.receive() if self._incoming else replace(empty, values=(*self._bind(x), self._mask_of(x)))

    def send(self, arrived: Handover, found: Handover) -> None:
        """Send on what crosses the cut behind them, and let go of it."""
        for channel in self._onward:
            channel.send(replace(found, values=(*self._piece.handed_on, arrived.values[-1])))
        self._piece.handed_on = ()

    def belief(self, hidden: Tensor) -> LazyLogits:
        """Read a hidden state by the readout that heads share; see `Place.belief`."""
        assert self._copy  # or it would not be in hidden states that beliefs travel
        bias = to_log_belief(self.cascade.log_prior) if self._residual else self._copy.bias
        return LazyLogits(hidden, self._copy.weight, bias)

    def begin_step(self) -> None:
        """Refresh the readout that heads share, if that is due."""
        if self._readout:
            self._readout.begin_step()

    def settle(self) -> None:
        """Wait until the readout that heads share is as the last worker's."""
        if self._readout:
            self._readout.settle()


class Group(Place):
    """Some consecutive stages of a shared cascade; arguments as of `Piece`.

    Stages that learn from beliefs about the same batch wait for the answers of the groups before. Those that learn from the epoch
    before do not: all groups work on a batch at once, and only the sum of the gradients goes from one to the next.
    """

    def __init__(self, cascade: SharedCascade, layout: Layout) -> None:
        features, answers = _messages(cascade, layout)
        own, position, self._is_last = layout.own, layout.world.position, layout.world.is_last
        stages = [cast(Stage, stage) for stage in cascade.stages[own.start : own.stop]]
        classes, positions, log_prior = cascade.num_classes, cascade.positions, cascade.log_prior
        self.cascade = SharedCascade(nn.Identity(), stages, classes, positions=positions, log_prior=log_prior)
        _drop_others(cascade, stages)
        self._features_in = layout.incoming(features)
        self._features_out = [] if self._is_last else [layout.outgoing(features)]
        self._answers_in = layout.incoming(answers[position - 1], tag=_ANSWERS) if position > 1 else None
        step, tag = (-position, 0) if self._is_last else (1, _ANSWERS)
        self._answers_out = layout.outgoing(answers[position], step=step, tag=tag)
        self.outgoing = [*self._features_out, self._answers_out]

    def receive(self, x: Inputs, empty: Handover) -> Handover:
        """Return `z`, the prior, and no losses; the next worker gets them at once."""
        features = self._features_in.receive()
        for channel in self._features_out:
            channel.send(features)
        features.values[0].requires_grad_(features.trains)
        return features

    def before(self, arrived: Handover) -> Handover:
        """Return what the groups before answered; before the first, the prior."""
        return self._answers_in.receive() if self._answers_in else replace(arrived, values=())

    def send(self, arrived: Handover, found: Handover) -> None:
        """Send answers on with `Σ_i ∂L_i/∂z`; the last group sends that back to the extractor, and after an evaluation nothing."""
        gradient = arrived.values[0].grad
        answers = replace(found, values=() if gradient is None else (gradient,))
        if self._is_last:
            answers = Handover(answers.values, torch.empty(0), torch.empty(0))
        if answers.values or not self._is_last:
            self._answers_out.send(answers)


class Extractor(Place):
    """The extractor of a shared cascade: `z = c(x)`, and its backward pass when the stages' gradient is back.

    With staleness k = 0 it waits for that gradient before the next batch: exact, the same to the bit as one process. With k > 0 it
    runs ahead by k batches: `z` of batch t is computed by weights that have seen the gradients up to batch t−k−1, and all workers
    work at once. A gradient is taken at the weights that computed `z`, hence k+1 copies of the extractor's (weight stashing,
    PipeDream, arXiv 1806.03377).

    Args:
        cascade, layout: as of `Piece`.
        staleness: k.
        divisor: what the sum of the gradients is divided by.
        update: applies the extractor's gradients, and drops them.
    """

    cascade: SharedCascade

    def __init__(self, cascade: SharedCascade, layout: Layout, *, staleness: int, divisor: int, update: Callable[[], None]) -> None:
        features, answers = _messages(cascade, layout)
        _drop_others(cascade, [cascade.extractor])
        self.cascade, self._extractor = cascade, cascade.extractor
        self._staleness, self._divisor, self._update = staleness, divisor, update
        self.outgoing = [layout.outgoing(features)]
        self._gradients = layout.incoming(answers[-1], step=1 - layout.world.positions)
        self._waiting: deque[tuple[Tensor, dict[str, Tensor]]] = deque()  # z with its graph, and the weights that computed it

    def receive(self, x: Inputs, empty: Handover) -> Handover:
        """Return `z` and the prior; in training, keep `z` until its gradient is back."""
        weights: dict[str, Tensor] = dict(self._extractor.named_parameters())
        if self._staleness and empty.trains:
            weights = {name: nn.Parameter(each.detach().clone(), each.requires_grad) for name, each in weights.items()}
            z = functional_call(self._extractor, weights, x if isinstance(x, tuple) else (x,))
        else:
            z = self.cascade.features(x)
        if empty.trains:
            self._waiting.append((z, weights))
        return replace(empty, values=(z.detach(),), log_beliefs=self.cascade.prior(z.detach()).unsqueeze(0))

    def send(self, arrived: Handover, found: Handover) -> None:
        """Send on `z`, and apply the gradient of the batch that is `staleness` back."""
        self.outgoing[0].send(arrived)
        self.settle(self._staleness if arrived.trains else len(self._waiting))

    def settle(self, left: int = 0) -> None:
        """Apply the gradients that are still to come, but of the last few batches."""
        while len(self._waiting) > left:
            z, weights = self._waiting.popleft()
            (gradient,) = self._gradients.receive().values
            if z.requires_grad:
                z.backward(gradient / self._divisor)  # type: ignore[no-untyped-call]
            for name, parameter in self._extractor.named_parameters():
                parameter.grad = weights[name].grad
            self._update()


class Continued(Sum):
    """`Σ_i ∂L_i/∂z` in the order of the stages, begun by the groups before; their part is asked for at the end.

    Args:
        so_far: returns their sum, or nothing when there is no group before.
    """

    def __init__(self, so_far: Callable[[], tuple[Tensor, ...]]) -> None:
        super().__init__()
        self._so_far, self._own = so_far, list[Tensor]()

    def add(self, gradient: Tensor) -> None:
        """Keep a stage's gradient."""
        self._own.append(gradient)

    def result(self) -> Tensor:
        """Return the sum."""
        for gradient in (*self._so_far(), *self._own):
            super().add(gradient)
        return super().result()


def _drop_others(cascade: Cascade, kept: Iterable[nn.Module]) -> None:
    """Replace the parameters and buffers of the cascade that none of the modules holds by None; the prior stays."""
    own = {id(tensor) for module in kept for tensor in (*module.parameters(), *module.buffers())}
    own |= {id(tensor) for tensor in cascade.buffers(recurse=False)}
    for module in cascade.modules():
        for tensors in (module._parameters, module._buffers):
            for name, tensor in tensors.items():
                if tensor is not None and id(tensor) not in own:
                    tensors[name] = None


def _crossing(cascade: StagedCascade, layout: Layout) -> tuple[list[Handover], bool]:
    """Return the largest handover behind every position but the last, and whether logits wait, as the largest batch says.

    Raises:
        CutError: the stages are no modules, or a value is neither a tensor nor a plain number, text or None.
    """
    segments, found, problems = cascade.segments, [], []
    priors, lazy = list[Tensor](), False  # of the first stage alone
    if not isinstance(segments, GraphSegments):
        raise CutError("stages of a cascade cut by='boundary' cannot live on different workers: build it with by='graph'")

    def close(stage: int, tensors: list[Tensor]) -> list[Tensor]:
        if not priors:
            priors.append(cascade.prior(tensors[0]))
        return tensors

    with without_side_effects(cascade), torch.no_grad(), cascade.lazily() if layout.lazy else nullcontext():
        values, mask = segments.bind(layout.batch), cascade.mask_of(layout.batch)
        for own in layout.assignment if layout.lazy else layout.assignment[:-1]:  # the last tells of positions alone
            piece = segments.piece(own.start, own.stop)
            piece.run(cascade.model, values, close)
            values = piece.handed_on
            copy = cascade.readout if layout.lazy else None
            lazy = copy is not None and (layout.compact or travels(priors[0][..., 0].numel(), *copy.weight.shape))
            found.append(_largest((*values, mask), own.stop, priors[0], copy if lazy else None))
            problems += [
                f"a {type(value).__name__} crosses the cut after stage {own.stop}, which no message can hold: cut elsewhere"
                for value in values
                if not isinstance(value, Tensor | int | float | str | None)
            ]
    if problems:
        raise CutError("; ".join(problems))
    return found, lazy


def _messages(cascade: SharedCascade, layout: Layout) -> tuple[Handover, list[Handover]]:
    """Return the largest handover of features, and of answers behind every position.

    Raises:
        ScheduleError: a stage hands on features of its own.
    """
    with without_side_effects(cascade), torch.no_grad():
        z = cascade.eval().features(layout.batch)
        prior = cascade.prior(z)
        for i, stage in enumerate(cascade.stages, 1):
            if stage(z, prior)[0] is not z:
                raise ScheduleError(
                    f"stage {i} hands on features of its own: only stages that read the extractor's features can be spread; "
                    "cut the network by staged_cascade instead"
                )
    return _largest((z,), 0, prior), [_largest((z,), own.stop, prior) for own in layout.assignment]


def _largest(values: tuple[Any, ...], depth: int, prior: Tensor, readout: ReadoutCopy | None = None) -> Handover:
    """Return the largest handover behind stage `depth`: in double precision, which beliefs and losses have in such a network.

    With a readout there are answers, and what it reads in the place of beliefs.
    """
    where = prior.shape[:-1]
    made = (depth + 1, *prior.shape) if readout is None else (depth, *where, readout.weight.shape[1])
    beliefs, losses = (torch.empty(shape, dtype=torch.float64, device="meta") for shape in (made, (depth,)))
    answers = torch.empty((0,) if readout is None else (depth, *where), dtype=torch.int32, device="meta")
    return Handover(values, beliefs, losses, trains=True, answers=answers)
