"""One block that denoises the label's embedding at any time, and a schedule that is learned: the network of NoProp-CT."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from torchsid.core.cascade import Positions
from torchsid.models.networks.noprop import Denoiser, LabelEmbedding, Norm
from torchsid.settings import Count, CountOrZero, Share, checked

_TIMES = 8  # features of the time
_BEND = 16  # sigmoids in the schedule


class NoiseSchedule(nn.Module):
    """A learned schedule `ᾱ(t) = σ(−γ(t))`, which rises from noise at t = 0 to data at t = 1.

        γ(t) = γ_1 + Δ · (1 − m(t)),   m(t) = (f(t) − f(0)) / (f(1) − f(0)),   f(t) = t + Σ_k v_k σ(w_k t + c_k),   Δ, v, w > 0

    It begins with γ from 5 to −4.
    """

    def __init__(self) -> None:
        super().__init__()
        self.last = nn.Parameter(torch.tensor(-4.0))
        self.log_span = nn.Parameter(torch.tensor(9.0).log())
        self.v, self.w = (nn.Parameter(torch.zeros(_BEND)) for _ in range(2))
        self.c = nn.Parameter(torch.linspace(2.0, -2.0, _BEND))

    def forward(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """Return `γ(t)` and its slope `γ′(t)`, both like t, between 0 and 1."""
        v, w = F.softplus(self.v), F.softplus(self.w)
        bends = (w * t.unsqueeze(-1) + self.c).sigmoid()
        start, end = self.c.sigmoid(), (w + self.c).sigmoid()
        height = 1 + (v * (end - start)).sum()
        share = (t + (v * (bends - start)).sum(-1)) / height
        slope = (1 + (v * w * bends * (1 - bends)).sum(-1)) / height
        span = self.log_span.exp()
        return self.last + span * (1 - share), -span * slope


class NoPropCTNetwork(nn.Module):
    """A block `û(z, x, t)`, and the flow that leads from noise to the label's embedding; logits are read off its end.

        dz/dt = ½ |γ′(t)| (√ᾱ û − ᾱ z),   t from 0 to 1, by Euler's steps

    is the flow whose marginals are those of `q(z_t | y) = N(√ᾱ_t u_y, (1 − ᾱ_t) I)` where `û = u_y`. It begins at `z_0 = 0`, the
    mean of the noise, so that the network always gives the same answer; a flow keeps what noise it begins with.

    Args:
        block: which reads the sample, and an embedding with features of the time behind it.
        embed: the embedding of the classes.
        steps: of Euler.
    """

    def __init__(self, block: Denoiser, embed: LabelEmbedding, *, steps: int) -> None:
        super().__init__()
        self.block = block
        self.embed = embed
        self.schedule = NoiseSchedule()
        self.num_classes, size = embed.weight.shape
        self.steps = steps
        self.out = nn.Linear(size, self.num_classes)

    def denoise(self, features: Tensor, z: Tensor, t: Tensor) -> Tensor:
        """Return the block's logits, `[B, C]`, of what it has read of the samples, embeddings `[B, d]` and times `[B]`."""
        waves = (torch.pi * t.unsqueeze(-1) * torch.arange(1, _TIMES + 1, device=t.device)).cos()
        return self.block.decide(features, torch.cat([z, waves.to(z.dtype)], -1))

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits, `[B, C]`."""
        features = self.block.reads(x)
        z = features.new_zeros(x.shape[0], self.embed.weight.shape[1])
        for t in torch.arange(self.steps, device=z.device, dtype=self.embed.weight.dtype) / self.steps:
            gamma, slope = self.schedule(t)
            alpha_bar = (-gamma).sigmoid()
            clean = self.embed(self.denoise(features, z, t.expand(x.shape[0])).softmax(-1))
            z = z - slope / 2 * (alpha_bar.sqrt() * clean - alpha_bar * z) / self.steps
        logits: Tensor = self.out(z)
        return logits


@checked
def noprop_ct(
    example: Tensor,
    num_classes: int,
    positions: Positions = (),
    *,
    steps: Count = 100,
    embedding: CountOrZero = 0,
    width: Count = 32,
    norm: Norm = "batch",
    dropout: Share = 0.2,
) -> NoPropCTNetwork:
    """Return the network for inputs like `example`.

    Args:
        example: a small batch of inputs.
        num_classes: C.
        positions: where a sample's beliefs are, as the task says.
        steps: Steps of Euler's method at inference; 1000 as published. The sample is read once for all of them.
        embedding: Width of the classes' embedding, which is trained; 0 makes it one-hot.
        width: Channels of the first convolution; linear layers have eight times as many units.
        norm: Normalisation after the linear layers: over the batch as published, or over each sample.
        dropout: Dropout of the block's input features.
    """
    embed = LabelEmbedding(num_classes, embedding)
    size = embed.weight.shape[1] + _TIMES
    return NoPropCTNetwork(Denoiser(example, num_classes, size, width=width, norm=norm, dropout=dropout), embed, steps=steps)
