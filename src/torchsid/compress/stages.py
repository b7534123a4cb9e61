"""A network quantised stage by stage; each stage may first learn to live with what the quantised one before it hands on.

    stage i:   min KL(p̂_i ‖ p_i(h_{i−1}, p_{i−1})),   h and p of the quantised stages before it,  p̂_i its own full-precision belief

That needs no labels and no gradient from any other stage: it is SID's local loss with the stage's own belief as the teacher.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from copy import deepcopy
from dataclasses import dataclass
from itertools import chain, repeat

import torch
from torch import Tensor, nn

from torchsid.compress.comq import comq
from torchsid.compress.grid import BITS, Grid, Quantised, nearest
from torchsid.compress.layers import grams, groups_of, layers_of, weight_of
from torchsid.core.beliefs import forward_kl, to_log_belief
from torchsid.core.calling import Inputs, call
from torchsid.core.cascade import Cascade
from torchsid.errors import unknown_name

METHODS = ("nearest", "comq", "nearest-refit", "comq-refit")


@dataclass(frozen=True, kw_only=True)
class Refit:
    """How a stage is re-fitted: with Adam, so many times over all batches."""

    passes: int = 10
    learning_rate: float = 1e-4


def problems(network: nn.Module, bits: Iterable[int], methods: Iterable[str]) -> list[str]:
    """Return why a network cannot be compressed so."""
    found = [f"bits {each}: allowed is {BITS[0]} to {BITS[-1]}" for each in bits if each not in BITS]
    found += [unknown_name("method", each, METHODS) for each in methods if each not in METHODS]
    if not layers_of(network):
        found.append(f"{type(network).__name__} has no linear layer, convolution or embedding: there is nothing to quantise")
    if not isinstance(network, Cascade):
        why = "a stage is re-fitted on its own belief, and this network has no stages with heads; use nearest or comq, or a cascade"
        found += [f"method {each}: {why}" for each in methods if each.endswith("-refit")]
    return found


def compress(
    network: nn.Module,
    batches: Sequence[Inputs],
    bits: int,
    method: str = "comq",
    *,
    read: Mapping[str, Tensor] | None = None,
    refit: Refit = Refit(),
) -> dict[str, Quantised]:
    """Quantise the weights of a network in place, and return their codes by name.

    Args:
        network: is put into evaluation mode; biases, normalisations and what else is no matrix stay in full precision.
        batches: inputs to calibrate on, without labels; `nearest` needs none.
        bits: of a weight, 2 to 8.
        method: `nearest` rounds; `comq` descends by coordinates on what each layer reads; with `-refit` a stage is fitted before
            it is quantised, so that on what the quantised stages hand on it believes what it did before.
        read: what `read_by` gave for the network and the batches, where `comq` is tried with several bits.
        refit: how.

    Raises:
        ValueError: bits, method and network do not go together; names all problems.
    """
    if found := problems(network, [bits], [method]):
        raise ValueError("; ".join(found))
    network.eval()
    layers, descends = layers_of(network), method.startswith("comq")
    quantised: dict[str, Quantised] = {}

    def quantise(some: Mapping[str, nn.Module], known: Mapping[str, Tensor] | None = None) -> None:
        reads = (read_by(network, batches, some) if known is None else known) if descends and some else {}
        for name, layer in some.items():
            quantised[name] = _on_grid(layer, reads.get(name), bits)
            weight_of(layer).copy_(quantised[name].values().view_as(weight_of(layer)))

    if not (method.endswith("refit") and isinstance(network, Cascade)):
        quantise(layers, read)
        return quantised
    teacher = deepcopy(network).requires_grad_(False)
    stages = [dict(network.named_stage_parameters(stage)) for stage in range(network.depth)]
    quantise({name: layer for name, layer in layers.items() if not any(name in own for own in stages)})  # a shared extractor's
    for stage, own in enumerate(stages):
        if quantised:
            _fit(network, stage, [*own.values()], batches, teacher, refit)
        quantise({name: layers[name] for name in own if name in layers})
    return quantised


def read_by(network: nn.Module, batches: Sequence[Inputs], layers: Mapping[str, nn.Module] | None = None) -> dict[str, Tensor]:
    """Return `XᵀX` of what the layers of a network, by default all, read of some batches; see `grams`."""

    def run() -> None:
        for x in batches:
            network.log_beliefs(x) if isinstance(network, Cascade) else call(network, x)

    return grams(layers_of(network) if layers is None else layers, run)


def _on_grid(layer: nn.Module, read: Tensor | None, bits: int) -> Quantised:
    """Return the weight of a layer, its groups one by one; rounded where nothing is known of what it reads."""
    weight = weight_of(layer).flatten(1)
    if read is None:
        return nearest(weight, bits)
    parts = [comq(part, gram, bits)[0] for part, gram in zip(weight.chunk(groups_of(layer)), read, strict=True)]
    scale, zero = (torch.cat([getattr(part.grid, name) for part in parts]) for name in ("scale", "zero"))
    return Quantised(torch.cat([part.codes for part in parts]), Grid(scale, zero, bits))


def _fit(cascade: Cascade, stage: int, own: list[nn.Parameter], batches: Sequence[Inputs], teacher: Cascade, refit: Refit) -> None:
    """Let a stage (from 0) believe what that of the teacher does, on what the stages before it hand on now."""
    optimizer = torch.optim.Adam(own, lr=refit.learning_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, refit.passes * len(batches))
    with _training_only(cascade, own):
        for x in chain.from_iterable(repeat(batches, refit.passes)):
            optimizer.zero_grad()
            loss = forward_kl(_belief_of(cascade, stage, x), _belief_of(teacher, stage, x)).mean()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()


@contextmanager
def _training_only(network: nn.Module, own: list[nn.Parameter]) -> Iterator[None]:
    """Within the block these parameters alone need gradients; behind it all need them that did."""
    before = [(parameter, parameter.requires_grad) for parameter in network.parameters()]
    try:
        for parameter, _ in before:
            parameter.requires_grad_(False)
        for parameter in own:
            parameter.requires_grad_(True)
        yield
    finally:
        for parameter, needed in before:
            parameter.requires_grad_(needed)
            parameter.grad = None


class _AnsweredError(Exception):
    """Ends a pass through a cascade where a stage has answered."""


def _belief_of(cascade: Cascade, last: int, x: Inputs) -> Tensor:
    """Return the belief `[B, ..., C]` after a stage (from 0); those behind it do not run."""
    log_belief: Tensor | None = None

    def close(stage: int, tensors: list[Tensor]) -> list[Tensor]:
        nonlocal log_belief
        tensors, logits = cascade.answer(stage, tensors, cascade.prior(tensors[0]) if log_belief is None else log_belief)
        log_belief = to_log_belief(logits)
        if stage == last:
            raise _AnsweredError
        return tensors

    with suppress(_AnsweredError):
        cascade.run(x, close)
    assert log_belief is not None  # of a stage that there is
    return log_belief
