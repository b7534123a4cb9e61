"""Heads on any features: a body from features to a vector, and what is added to every body alike.

A body is a module made from an example of the features. What else it needs it asks for by parameters of its constructor: `later`,
the trunk's modules behind it; `place`, its stage, from 0, and the number of stages; `readout`, a copy of the last stage's; `pool`,
False to give every token a vector of its own (one that always does so says that it `pools` not); `residual`; `factor`, by how much
less of a map to read (maps are pooled for a body that does not ask). Its forward may ask for `mask`, which tokens count. It says
its vectors' `width`, and may say which ranks of features it `reads`, by `max_side` how large the maps may be, and by `readouts`
that a copy takes the place of a readout of its own.
Its own settings are its keyword-only parameters.
"""

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from torchsid.core.axes import arranged
from torchsid.core.cascade import Positions
from torchsid.core.masks import asks_for_mask
from torchsid.core.readout import ReadoutCopy
from torchsid.core.shared import outputs_of
from torchsid.errors import HeadError, unknown_name
from torchsid.heads import HEADS
from torchsid.heads.cost import multiply_adds
from torchsid.heads.features import FORMS, describe, smaller
from torchsid.heads.features import channels as width_of
from torchsid.settings import settings_of

Body = Callable[..., nn.Module]


class BeliefHead(nn.Module):
    """A head on any features: `v = body(features)`, then `g(v, p) = W · [v, p] + b`.

    * plain: `logits_i = g(v, p_{i−1})`.
    * residual: `logits_i = log p_{i−1} + g(v, p_{i−1})` with `W = b = 0` at the start, so that every stage begins as the identity
      on beliefs.

    Where W is a copy of the last stage's readout, and where tokens are answered one by one among more outcomes than v has
    channels, g does not read the belief, `g(v) = W · v + b`: its C² weights would be most of the head's, 17 million for a
    vocabulary of 4,096. A residual with the copy adds vectors in one basis, without b: `logits_i = log p_0 + W u_i` with
    `u_i = u_{i−1} + v_i`, and `v = 0` at the start.

    Args:
        body: maps features to `v`, `[B, width]` or `[B, T, width]`, and leaves the features as they are; says its `width`.
        num_classes: C.
        residual: which of the two.
        factor: maps are average-pooled to `⌈H/factor⌉ x ⌈W/factor⌉` before the body reads them.
        positions: where a sample's beliefs are; all M of `(M,)` come from the same vector.
        channels: the axis of the features that has the channels, where it is another than their rank says; see `core/axes.py`.
    """

    def __init__(
        self,
        body: nn.Module,
        num_classes: int,
        *,
        residual: bool = True,
        factor: int = 1,
        positions: Positions = (),
        channels: int | None = None,
    ) -> None:
        super().__init__()
        self.residual = residual
        self.factor = factor
        self.channels = channels
        self.reads_mask = asks_for_mask(body)
        self.slots = bool(positions) and positions != "tokens"
        self.body = body
        self._shared: tuple[ReadoutCopy, ...] = getattr(body, "readouts", ())  # no submodule: the cascade holds it for all heads
        width, outputs = int(body.width), outputs_of(num_classes, positions)  # type: ignore[arg-type]
        self.reads_belief = not self._shared and (positions != "tokens" or num_classes <= width)
        self.lazy = not self.reads_belief and (bool(self._shared) or not residual)
        """Whether its logits follow from `hidden` and `readout`, and of a residual from the ones before, so that they can wait."""
        if not self._shared:
            self.output = nn.Linear(width + outputs * self.reads_belief, outputs)
        if residual and not self._shared:
            nn.init.zeros_(self.output.weight)
            nn.init.zeros_(self.output.bias)

    @property
    def readout(self) -> nn.Linear | ReadoutCopy:
        """What makes the logits of v, and of the belief where the head reads it; has a `weight` and a `bias`, which may be None."""
        return self._shared[0] if self._shared else self.output

    def hidden(self, features: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return `v`, `[B, width]` or `[B, T, width]`, from features `[B, ...]`; the mask `[B, T]` is of tokens."""
        own = next(self.parameters())
        if features.device != own.device:
            where = f"the features are on {features.device}, their head on {own.device}"
            raise HeadError(f"{where}: move the cascade, not its model")
        read = arranged(features, self.channels)
        read = smaller(read, self.factor)
        if read.dtype != own.dtype and not torch.is_autocast_enabled(read.device.type):
            read = read.to(own.dtype)  # the trunk alone was cast
        v: Tensor = self.body(read) if mask is None or not self.reads_mask else self.body(read, mask=mask)
        return v

    def forward(self, features: Tensor, log_belief: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return logits from features `[B, ...]` and the previous belief, both `[B, ..., C]`; the mask `[B, T]` is of tokens."""
        v = self.hidden(features, mask)
        if not self.reads_belief:
            logits: Tensor = self.readout(v, biased=False) if self.residual and self._shared else self.readout(v)
            return log_belief + logits if self.residual else logits
        belief = log_belief.exp().to(v.dtype)
        correction: Tensor = self.output(torch.cat([v, belief.flatten(1) if self.slots else belief], -1))
        correction = correction.view_as(belief) if self.slots else correction
        return log_belief + correction if self.residual else correction


def create(
    kind: str,
    features: Tensor,
    num_classes: int,
    *,
    residual: bool = True,
    later: Iterable[nn.Module] = (),
    budget: int | None = None,
    positions: Positions = (),
    channels: int | None = None,
    readout: ReadoutCopy | None = None,
    place: tuple[int, int] = (0, 2),
    settings: Mapping[str, Any] = {},
) -> BeliefHead:
    """Build a head that maps a stage's features and the previous belief `[B, ..., C]` to logits of its shape.

    As every new module, it is made on the default device, in the default dtype and in training mode.

    Args:
        kind: one of `names()`.
        features: an example of the stage's features: maps `[B, C, H, W]`, tokens `[B, T, D]`, vectors `[B, D]`, or volumes
            `[B, C, D, H, W]`, read as tokens. Only its shape counts, so a tensor on the meta device will do.
        num_classes: C.
        residual: add the head's correction to the previous log-belief and start with none, so that the stage begins as the
            identity on beliefs.
        later: the trunk's modules after this stage, in order. Read by `thin`, `trunk`, `augmented` and `momentum`.
        budget: the most multiply-adds a sample that a forward pass of the head may take. `conv`, `attention`, `thin` and `trunk`
            pool maps by the smallest of 1, 2, 4, 8, ... that fits, no further than to 2x2. Where each token is answered, what
            makes logits of its vector is not counted: no answer does without it.
        positions: where a sample's beliefs are: one (`()`), M of them from the same vector (`(M,)`), or one at each token
            (`"tokens"`).
        channels: the axis of the features that has the channels, where it is another than this: 1 of `[B, C, T]`, −1 of
            `[B, H, W, C]`.
        readout: a copy of the readout that the last stage trains, for `readout`.
        place: the stage, from 0, and the number of stages, for `augmented`.
        settings: of the kind, such as `{"width": 0.5}` of `thin`.

    Raises:
        HeadError: the head cannot read such features, has no such setting, or does not fit the budget.
        ValueError: a setting is out of range.
        ConfigError: the kind is unknown.
    """
    body: Body = HEADS.load(kind)
    given, rank = torch.zeros(1, *features.shape[1:]), features.dim()
    if channels is not None and rank > 2 and channels not in (*range(1, rank), *range(1 - rank, 0)):
        raise HeadError(f"channels={channels} is no axis of {describe(features)} behind the batch: give 1 to {rank - 1}, or -1")
    example = arranged(given, channels) if rank > 2 else given
    if problems := list(_problems(kind, body, example if rank > 2 else features, num_classes, budget, positions, settings)):
        raise HeadError("; ".join(problems))
    where = example.shape[1:-1] if positions == "tokens" else positions
    log_belief = torch.zeros(1, *where, num_classes)
    pool = positions != "tokens"
    wishes: dict[str, Any] = {"later": later, "pool": pool, "readout": readout, "residual": residual, "place": place}
    tried: list[tuple[int, int]] = []  # multiply-adds, and by how much less of a map was read
    state = torch.get_rng_state()
    for factor in _factors(body, example):
        torch.set_rng_state(state)  # a seed gives the weights of the head that is returned, however many were tried
        asked = {name: value for name, value in {**wishes, "factor": factor}.items() if _asks_for(body, name)}
        made = body(example, **asked, **settings)
        pooled = 1 if _asks_for(body, "factor") else factor
        head = BeliefHead(made, num_classes, residual=residual, factor=pooled, positions=positions, channels=channels)
        if budget is None:
            return head
        try:
            cost = multiply_adds(made, example) if positions == "tokens" else multiply_adds(head, given, log_belief)
            tried.append((cost, factor))
        except Exception:  # copies of the trunk's layers may find small maps too small, and say so in any way
            if not tried:
                raise
            continue
        if tried[-1][0] <= budget:
            return head
    least, factor = min(tried)
    pooling = f" with maps read {factor} times smaller" if factor > 1 else ""
    linear = 0 if positions == "tokens" else (width_of(example) + num_classes) * num_classes
    cheaper = f", choose a cheaper head (linear takes {linear:,})" if kind != "linear" else ""
    takes = f"takes {least:,} multiply-adds a sample{pooling}, over the budget of {budget:,}"
    way_out = f"raise budget{cheaper}, or cut the trunk where it has fewer channels"
    raise HeadError(f"head {kind!r} on {describe(example)} {takes}: {way_out}")


def _problems(
    kind: str,
    body: Body,
    features: Tensor,
    num_classes: int,
    budget: int | None,
    positions: Positions,
    settings: Mapping[str, Any],
) -> Iterator[str]:
    bodies = {name: each for name in HEADS.names() if _pools(each := HEADS.load(name)) or positions == "tokens"}
    if features.dim() not in getattr(body, "reads", FORMS):
        readers = ", ".join(name for name, each in bodies.items() if features.dim() in getattr(each, "reads", FORMS))
        advice = f"choose from {readers}" if readers else "give vectors [B, D], tokens [B, T, D] or maps [B, C, H, W]"
        yield f"head {kind!r} cannot read {describe(features)}: {advice}"
    if positions == "tokens" and not (features.dim() == 3 and _answers_tokens(body)):
        able = ", ".join(name for name, each in bodies.items() if _answers_tokens(each))
        yield f"head {kind!r} on {describe(features)} cannot answer at each token: give tokens [B, T, D], and choose from {able}"
    if positions != "tokens" and not _pools(body):
        yield f"head {kind!r} answers at each token, and the model once a sample: choose another head"
    if num_classes < 2:
        yield f"num_classes={num_classes}: a belief needs 2 classes or more"
    if budget is not None and budget < 1:
        yield f"budget={budget}: give 1 multiply-add a sample or more, or None for no limit"
    for name in settings.keys() - settings_of(body).keys():
        yield unknown_name(f"setting of head {kind!r}", name, sorted(settings_of(body)))


def _pools(body: Body) -> bool:
    return getattr(body, "pools", True)


def _answers_tokens(body: Body) -> bool:
    return _asks_for(body, "pool") or not _pools(body)


def _asks_for(body: Body, name: str) -> bool:
    return name in inspect.signature(body).parameters


def _factors(body: Body, example: Tensor) -> list[int]:
    """Return by how much smaller a side to try maps, smallest first: powers of two that leave 2x2 or more."""
    if example.dim() != 4:
        return [1]
    small, large = sorted(example.shape[2:])
    factors = [2**k for k in range(max((small - 1).bit_length(), 1))]
    max_side = getattr(body, "max_side", large)
    return [factor for factor in factors if large <= max_side * factor] or factors[-1:]
