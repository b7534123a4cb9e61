"""Random networks as strangers write them: blocks of one form in a row, an input of some kind, an answer of some kind."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from random import Random
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

BATCH, TOKENS, SIDE, CLASSES = 5, 7, 10, 3
"""All different, and no width is one of them, so that no axis can be mistaken for another by its length."""
WIDTHS = (8, 12, 16)
Layer = Callable[[int, int, Random], nn.Module]


@dataclass(frozen=True, kw_only=True)
class Form:
    """Features of one rank and order: where batch and channels are, and the layers that read them."""

    batch: int
    channels: int
    shape: Callable[[int], tuple[int, ...]]
    layers: tuple[Layer, ...]


class Residual(nn.Module):
    """`x + f(x)`, with the sum written in code."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner, self.shortcut = inner, nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.shortcut(x) + self.inner(x)


class Branches(nn.Module):
    """Two ways in parallel, joined along an axis or added."""

    def __init__(self, first: nn.Module, second: nn.Module, joined: int | None) -> None:
        super().__init__()
        self.first, self.second, self.joined = first, second, joined

    def forward(self, x: Tensor) -> Tensor:
        made = self.first(x), self.second(x)
        return made[0] * made[1].sigmoid() if self.joined is None else torch.cat(made, self.joined)


class Permuted(nn.Module):
    """A layer that reads another order of axes than its neighbours."""

    def __init__(self, inner: nn.Module, there: tuple[int, ...], back: tuple[int, ...]) -> None:
        super().__init__()
        self.inner, self.there, self.back = inner, there, back

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x.permute(self.there)).permute(self.back)


class Recurrent(nn.Module):
    """A GRU or LSTM, whose state is dropped."""

    def __init__(self, inner: nn.RNNBase) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        made: Tensor = self.inner(x)[0]
        return made


class Rerun(nn.Module):
    """A block that is run again in the backward pass, as large models do."""

    def __init__(self, inner: nn.Module, *, reentrant: bool) -> None:
        super().__init__()
        self.inner, self.reentrant = inner, reentrant

    def forward(self, x: Tensor) -> Tensor:
        made: Tensor = checkpoint(self.inner, x, use_reentrant=self.reentrant) if self.training else self.inner(x)
        return made


class Counting(nn.Module):
    """A block with a buffer that `forward` replaces, and one that it makes."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner
        self.register_buffer("calls", torch.zeros((), dtype=torch.long))

    def forward(self, x: Tensor) -> Tensor:
        self.calls = self.calls + 1
        if not hasattr(self, "table") or len(self.table) < x.shape[0]:
            self.table = torch.ones(x.shape[0], dtype=x.dtype)
        return self.inner(x) * self.table[0]


class Functional(nn.Module):
    """A block followed by functions instead of modules, some of them in place."""

    def __init__(self, inner: nn.Module, *, dropout: bool) -> None:
        super().__init__()
        self.inner, self.dropout = inner, dropout

    def forward(self, x: Tensor) -> Tensor:
        made = F.silu(self.inner(x))
        return F.dropout(made, 0.2, self.training) if self.dropout else made.mul_(0.9)


class Frozen(nn.Module):
    """A block that nobody trains, run without a graph."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner.requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            made: Tensor = self.inner(x)
        return made


def _linear(a: int, b: int, random: Random) -> nn.Module:
    return nn.Sequential(nn.Linear(a, b), random.choice([nn.Tanh(), nn.GELU(), nn.LayerNorm(b)]))


def _batch_norm(a: int, b: int, random: Random) -> nn.Module:
    return nn.Sequential(nn.Linear(a, b), nn.BatchNorm1d(b), nn.SiLU())


def _attention(first: bool) -> Layer:
    def made(a: int, b: int, random: Random) -> nn.Module:
        norm_first = random.random() < 0.5
        layer = nn.TransformerEncoderLayer(a, 2, 24, 0.1, batch_first=first, norm_first=norm_first, activation="gelu")
        return nn.Sequential(layer, nn.Linear(a, b))

    return made


def _recurrent(first: bool) -> Layer:
    return lambda a, b, random: Recurrent(random.choice([nn.GRU, nn.LSTM])(a, b, batch_first=first))


def _convolution(a: int, b: int, random: Random) -> nn.Module:
    norm = random.choice([nn.BatchNorm2d(b), nn.GroupNorm(2, b), nn.Identity()])
    return nn.Sequential(nn.Conv2d(a, b, 3, padding=1), norm, random.choice([nn.SiLU(), nn.SiLU(inplace=True), nn.Tanh()]))


def _separable(a: int, b: int, random: Random) -> nn.Module:
    return nn.Sequential(nn.Conv2d(a, a, 3, padding=1, groups=a), nn.Conv2d(a, b, 1), nn.GELU())


def _strided(a: int, b: int, random: Random) -> nn.Module:
    pool = random.choice([nn.MaxPool2d(3, 1, 1), nn.AvgPool2d(2, ceil_mode=True), nn.Identity()])
    return nn.Sequential(nn.Conv2d(a, b, 3, stride=random.choice([1, 2]), padding=1), nn.BatchNorm2d(b), nn.GELU(), pool)


def _signal(a: int, b: int, random: Random) -> nn.Module:
    return nn.Sequential(nn.Conv1d(a, b, 3, padding=1), random.choice([nn.BatchNorm1d(b), nn.GroupNorm(2, b)]), nn.SiLU())


def _pixel(a: int, b: int, random: Random) -> nn.Module:
    inner = nn.Sequential(nn.Conv2d(a, a, 3, padding=1, groups=a))
    return nn.Sequential(Permuted(inner, (0, 3, 1, 2), (0, 2, 3, 1)), nn.LayerNorm(a), nn.Linear(a, b), nn.GELU())


FORMS: Mapping[str, Form] = {
    "vectors": Form(batch=0, channels=1, shape=lambda c: (BATCH, c), layers=(_linear, _batch_norm)),
    "tokens": Form(batch=0, channels=2, shape=lambda c: (BATCH, TOKENS, c), layers=(_linear, _attention(True), _recurrent(True))),
    "tokens, time first": Form(
        batch=1, channels=2, shape=lambda c: (TOKENS, BATCH, c), layers=(_linear, _attention(False), _recurrent(False))
    ),
    "signals": Form(batch=0, channels=1, shape=lambda c: (BATCH, c, TOKENS), layers=(_signal,)),
    "maps": Form(batch=0, channels=1, shape=lambda c: (BATCH, c, SIDE, SIDE), layers=(_convolution, _separable, _strided)),
    "maps, channels last": Form(batch=0, channels=3, shape=lambda c: (BATCH, SIDE, SIDE, c), layers=(_pixel, _linear)),
}


@dataclass(frozen=True)
class Answer:
    """An output with a field."""

    logits: Tensor
    loss: None = None


ANSWERS: Mapping[str, Callable[[Tensor], Any]] = {
    "tensor": lambda logits: logits,
    "tuple": lambda logits: (logits, {"more": 1}),
    "dictionary": lambda logits: {"logits": logits, "hidden": None},
    "object": Answer,
}


class Network(nn.Module):
    """Blocks in a row, the mean over whatever is neither batch nor channel, a linear layer.

    Args:
        form: of the features.
        blocks: in order.
        width: of the last block's features.
        answer: what `forward` returns.
        skip: which two blocks a long connection leads from and to, or none.
    """

    def __init__(self, form: Form, blocks: list[nn.Module], width: int, answer: str, skip: tuple[int, int] | None) -> None:
        super().__init__()
        self.form, self.answer, self.skip = form, answer, skip
        self.blocks = nn.ModuleList(blocks)
        self.head = nn.Linear(width, CLASSES)

    def forward(self, x: Tensor, scale: Tensor | None = None, *, flag: bool = False) -> Any:
        kept = None
        for index, block in enumerate(self.blocks):
            if self.skip and index == self.skip[1] and kept is not None:
                x = x + kept
            x = block(x)
            if self.skip and index == self.skip[0]:
                kept = x
        others = [axis for axis in range(x.dim()) if axis not in (self.form.batch, self.form.channels)]
        logits = self.head(x.mean(others) if others else x)
        return ANSWERS[self.answer](logits if scale is None else logits * scale)


class Listener(nn.Module):
    """A network of words, each of which may be padding: an embedding, blocks that know the mask, the mean over what is there."""

    def __init__(self, blocks: list[nn.Module], width: int, *, each: bool) -> None:
        super().__init__()
        self.embedding = nn.Embedding(11, width, padding_idx=0)
        self.layers = nn.ModuleList(blocks)
        self.head, self.each = nn.Linear(width, CLASSES), each

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        x = self.embedding(input_ids)
        mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        for layer in self.layers:
            x = layer(x, src_key_padding_mask=mask == 0) if isinstance(layer, nn.TransformerEncoderLayer) else layer(x)
        if self.each:
            return self.head(x)
        weight = mask.unsqueeze(-1).to(x.dtype)
        return self.head((x * weight).sum(1) / weight.sum(1))


@dataclass(frozen=True, kw_only=True)
class Stranger:
    """A network with a batch of its inputs."""

    name: str
    model: nn.Module
    inputs: Any
    form: Form | None = None
    batch: Mapping[Any, int] = field(default_factory=dict)
    """The batch axis of each input that has one, by its place or name."""


def stranger(random: Random) -> Stranger:
    """Return a random network in float64, with inputs."""
    if random.random() < 0.2:
        return _listener(random)
    name = random.choice([*FORMS])
    form, widths = FORMS[name], [random.choice(WIDTHS) for _ in range(random.randint(3, 7))]
    blocks = [_block(form, a, b, random) for a, b in pairwise(widths)]
    same = [i for i in range(len(blocks) - 2) if widths[i + 1] == widths[-2] and form.channels != 1] if len(blocks) > 3 else []
    skip = (same[0], len(blocks) - 1) if same and random.random() < 0.2 else None
    if random.random() < 0.1:
        blocks.insert(0, Frozen(_block(form, widths[0], widths[0], random)))
        skip = None
    model = Network(form, blocks, widths[-1], random.choice([*ANSWERS, "tensor"]), skip)
    x = torch.randn(form.shape(widths[0]), dtype=torch.float64)
    inputs, batch = random.choice(
        [
            (x, {None: form.batch}),
            ((x,), {0: form.batch}),
            ((x, torch.tensor(0.7, dtype=torch.float64)), {0: form.batch}),
            ({"x": x}, {"x": form.batch}),
            ({"scale": torch.tensor(0.7, dtype=torch.float64), "x": x}, {"x": form.batch}),
            ({"x": x, "scale": None, "flag": True}, {"x": form.batch}),
        ]
    )
    return Stranger(name=name, model=model.double(), inputs=inputs, form=form, batch=batch)


def _block(form: Form, a: int, b: int, random: Random) -> nn.Module:
    """Return a block from `a` to `b` channels, perhaps with something around it."""

    def layer(a: int, b: int) -> nn.Module:
        return random.choice([each for each in form.layers if each is not _strided or a != b] or form.layers)(a, b, random)

    wrap = random.choice(["none", "none", "residual", "branches", "rerun", "counting", "functional", "dropout"])
    match wrap:
        case "residual" if a == b and form.layers[0] is not _convolution:
            return Residual(layer(a, b))
        case "residual" if a == b:
            return Residual(_convolution(a, b, random))
        case "branches" if form.layers[0] is not _convolution:
            return Branches(layer(a, b // 2), layer(a, b - b // 2), form.channels)
        case "branches":
            return Branches(_convolution(a, b, random), _separable(a, b, random), None)
        case "rerun":
            return Rerun(layer(a, b), reentrant=random.random() < 0.3)
        case "counting":
            return Counting(layer(a, b))
        case "functional":
            return Functional(layer(a, b), dropout=random.random() < 0.5)
        case "dropout":
            return nn.Sequential(layer(a, b), nn.Dropout(0.2))
        case _:
            return layer(a, b)


def _listener(random: Random) -> Stranger:
    width = random.choice(WIDTHS)
    kinds = [lambda: nn.TransformerEncoderLayer(width, 2, 24, 0.1, batch_first=True), lambda: _linear(width, width, random)]
    each = random.random() < 0.4
    model = Listener([random.choice(kinds)() for _ in range(random.randint(2, 5))], width, each=each)
    ids = torch.randint(1, 11, (BATCH, TOKENS))
    mask = torch.ones_like(ids)
    for row in range(1, BATCH):
        mask[row, random.randint(2, TOKENS) :] = 0
    inputs = {"input_ids": ids, "attention_mask": mask} if random.random() < 0.8 else ids
    batch = {"input_ids": 0, "attention_mask": 0} if isinstance(inputs, dict) else {None: 0}
    return Stranger(name="words, each answered" if each else "words", model=model.double(), inputs=inputs, batch=batch)
