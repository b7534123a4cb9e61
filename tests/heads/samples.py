"""Features of every form, trunks that follow them, and heads on them, for the tests of the heads."""

import torch
from torch import Tensor, nn

from torchsid import heads
from torchsid.core.cascade import Positions
from torchsid.heads import BeliefHead

BATCH, CLASSES, CHANNELS = 6, 4, 8
SHAPES = {"vectors": (BATCH, CHANNELS), "tokens": (BATCH, 5, CHANNELS), "maps": (BATCH, CHANNELS, 12, 12)}
READS = {
    "linear": ("vectors", "tokens", "maps"),
    "mlp": ("vectors", "tokens", "maps"),
    "mlp-sr": ("vectors", "tokens", "maps"),
    "conv": ("maps",),
    "pyramid": ("maps",),
    "attention": ("tokens", "maps"),
    "thin": ("vectors", "tokens", "maps"),
    "trunk": ("vectors", "tokens", "maps"),
    "augmented": ("vectors", "tokens", "maps"),
    "momentum": ("vectors", "tokens", "maps"),
}
ONE_BY_ONE = ("readout",)
"""Kinds that answer at each token alone."""
READABLE = [(kind, form) for kind, forms in READS.items() for form in forms]
UNREADABLE = [(kind, form) for kind, forms in READS.items() for form in SHAPES if form not in forms]


def features(form: str, seed: int = 0) -> Tensor:
    return torch.randn(SHAPES[form], generator=torch.Generator().manual_seed(seed))


def log_belief(where: tuple[int, ...] = ()) -> Tensor:
    return torch.randn(BATCH, *where, CLASSES, generator=torch.Generator().manual_seed(1)).log_softmax(-1)


def block(channels_in: int, channels_out: int, stride: int) -> nn.Module:
    """A pre-activation layer: the first thing it does is to write to its input."""
    convolution = nn.Conv2d(channels_in, channels_out, 3, stride=stride, padding=1, bias=False)
    return nn.Sequential(nn.ReLU(inplace=True), convolution, nn.BatchNorm2d(channels_out))


def later(form: str) -> nn.Sequential:
    """What may follow features of a form in a trunk."""
    if form == "maps":
        return nn.Sequential(block(CHANNELS, CHANNELS, 1), block(CHANNELS, 10, 2), block(10, 10, 1), block(10, 14, 2))
    if form == "tokens":
        encoder = nn.TransformerEncoderLayer(CHANNELS, 2, 16, dropout=0.1, batch_first=True)
        return nn.Sequential(nn.Dropout(), encoder, nn.TransformerEncoderLayer(CHANNELS, 2, 16, batch_first=True))
    return nn.Sequential(nn.ReLU(inplace=True), nn.Linear(CHANNELS, 9), nn.ReLU(), nn.Linear(9, 7))


def create(kind: str, form: str, *, residual: bool = True, budget: int | None = None, positions: Positions = ()) -> BeliefHead:
    x, behind = features(form), later(form)
    head = heads.create(kind, x, CLASSES, residual=residual, later=behind, budget=budget, positions=positions)
    assert isinstance(head, BeliefHead)
    return head


def randomise(head: nn.Module) -> nn.Module:
    """Give zero layers, which would hide what lies before them, values."""
    with torch.no_grad():
        for parameter in head.parameters():
            if not parameter.any():
                parameter.normal_(std=0.5)
    return head
