"""Blocks that each read the raw input and denoise the label's embedding: the network of NoProp."""

from collections.abc import Iterable, Iterator
from typing import Literal

import torch
from torch import Tensor, nn

from torchsid.core.cascade import Positions
from torchsid.models.images import side_of
from torchsid.models.tokens import numbers_in
from torchsid.settings import Count, CountOrZero, Share, checked

Norm = Literal["batch", "layer"]
_LEAST = 1e-3  # of α, where the schedule begins


class Denoiser(nn.Module):
    """One block: reads a sample x and a noisy embedding z, and says which class the embedding is of, `[B, C]`.

    Images, 4 pixels a side or more, are read by three convolutions of w, 2w and 4w channels, anything else by a linear layer of 8w
    units; w is `width`.

    Args:
        example: a batch of inputs.
        num_classes: C.
        size: of z, and of what is told besides.
        width: w.
        norm: behind the linear layers.
        dropout: behind the layers that read the sample.
    """

    def __init__(self, example: Tensor, num_classes: int, size: int, *, width: int, norm: Norm, dropout: float) -> None:
        super().__init__()
        wide = 8 * width

        def linear(inputs: int, outputs: int) -> list[nn.Module]:
            return [nn.Linear(inputs, outputs), nn.BatchNorm1d(outputs) if norm == "batch" else nn.LayerNorm(outputs)]

        if example.dim() == 4:
            side, channels = side_of(example, least=4), (example.shape[1], width, 2 * width, 4 * width)
            reads: list[nn.Module] = []
            for i, halves in enumerate((True, False, True)):
                convolution = nn.Conv2d(channels[i], channels[i + 1], 3, padding=1)
                reads += [convolution, nn.ReLU(), *([nn.MaxPool2d(2)] if halves else []), nn.Dropout(dropout)]
            inputs = 4 * width * (side // 4) ** 2
        else:
            reads = [nn.Flatten(), nn.Linear(numbers_in(example), wide), nn.ReLU(), nn.Dropout(dropout)]
            inputs = wide
        self.reads = nn.Sequential(*reads, nn.Flatten(), *linear(inputs, wide))
        self.enters = nn.Sequential(*linear(size, wide), nn.ReLU())
        self.refines = nn.Sequential(*linear(wide, wide), nn.ReLU(), *linear(wide, wide))
        hidden = [*linear(2 * wide, wide), nn.ReLU(), *linear(wide, 4 * width), nn.ReLU()]
        self.decides = nn.Sequential(*hidden, nn.Linear(4 * width, num_classes))

    def forward(self, x: Tensor, z: Tensor) -> Tensor:
        """Return the logits, `[B, C]`, of samples `[B, ...]` and noisy embeddings `[B, size]`."""
        return self.decide(self.reads(x), z)

    def decide(self, features: Tensor, z: Tensor) -> Tensor:
        """Do as `forward`, of what `reads` has made of the samples."""
        entered = self.enters(z)
        logits: Tensor = self.decides(torch.cat([features, entered + self.refines(entered)], -1))
        return logits


class LabelEmbedding(nn.Module):
    """The embedding of a class, `u_y = p_y W`; of a distribution the mean one.

    Args:
        num_classes: C.
        size: d; 0 for one-hot embeddings, which are not trained. Trained ones begin with orthogonal rows.
    """

    weight: Tensor
    """W, `[C, d]`."""

    def __init__(self, num_classes: int, size: int) -> None:
        super().__init__()
        if size:
            self.weight = nn.Parameter(nn.init.orthogonal_(torch.empty(num_classes, size)))
        else:
            self.register_buffer("weight", torch.eye(num_classes))

    def forward(self, p: Tensor) -> Tensor:
        """Return `[B, d]` of probabilities `[B, C]`."""
        return p @ self.weight.to(p.dtype)


class NoPropNetwork(nn.Module):
    """T blocks `û_t = softmax(f_t(x, z_{t−1})) W`, and the diffusion that leads from noise to the label's embedding.

        q(z_t | y) = N(√ᾱ_t u_y, (1 − ᾱ_t) I),  t = 0 … T;     z_t = a_t û_t + b_t z_{t−1} + √c_t ε_t;     logits = out(z_T)

    Time grows towards the data. The noise of inference, `z_0` and `ε_1 … ε_T`, is drawn once, the same for all samples, and part of
    the state, so that the network always gives the same answer.

    Args:
        blocks: of which each reads the sample and an embedding, and returns logits.
        embed: the embedding of the classes.
    """

    alpha_bar: Tensor
    """`ᾱ_0 … ᾱ_T`, rising, `[T + 1]`."""
    noise: Tensor
    """Of inference, `[T + 1, d]`."""

    def __init__(self, blocks: Iterable[nn.Module], embed: LabelEmbedding) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        self.embed = embed
        self.num_classes, size = embed.weight.shape
        self.out = nn.Linear(size, self.num_classes)
        self.register_buffer("alpha_bar", cosine_schedule(self.depth).to(torch.get_default_dtype()))
        self.register_buffer("noise", torch.randn(self.depth + 1, size))

    @property
    def depth(self) -> int:
        """The number of blocks T."""
        return len(self.blocks)

    def named_stage_parameters(self, stage: int) -> Iterator[tuple[str, nn.Parameter]]:
        """Yield the parameters of block `stage` (from 0), under their names here."""
        return self.blocks[stage].named_parameters(f"blocks.{stage}")

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits, `[B, C]`."""
        z = self.noise[0].expand(x.shape[0], -1)
        for block, noise, a, b, c in zip(self.blocks, self.noise[1:], *posterior(self.alpha_bar), strict=True):
            z = a * self.embed(block(x, z).softmax(-1)) + b * z + c.sqrt() * noise
        logits: Tensor = self.out(z)
        return logits


def cosine_schedule(steps: int) -> Tensor:
    """Return `ᾱ_0 … ᾱ_T`, float64 `[T + 1]`, by the cosine of Nichol and Dhariwal (arXiv 2102.09672), whose time runs backwards.

    `z_T … z_0` are the results of T + 1 noisings, `ᾱ_t = α_t ⋯ α_T`; no α is below 0.001.
    """
    angle = (torch.linspace(1, 0, steps + 2, dtype=torch.float64) + 0.008) / 1.008 * torch.pi / 2
    f = angle.cos().square()
    alpha = (f[:-1] / f[1:]).clamp(min=_LEAST)
    return alpha.flip(0).cumprod(0).flip(0)


def signal_to_noise(alpha_bar: Tensor) -> Tensor:
    """Return `SNR = ᾱ / (1 − ᾱ)`."""
    return alpha_bar / (1 - alpha_bar)


def posterior(alpha_bar: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return `a_t, b_t, c_t`, t = 1 … T, each `[T]`: `q(z_t | z_{t−1}, u) = N(a_t u + b_t z_{t−1}, c_t I)`."""
    before, after = alpha_bar[:-1], alpha_bar[1:]
    alpha = before / after  # α_{t−1}
    a = after.sqrt() * (1 - alpha) / (1 - before)
    b = alpha.sqrt() * (1 - after) / (1 - before)
    return a, b, (1 - after) * (1 - alpha) / (1 - before)


@checked
def noprop(
    example: Tensor,
    num_classes: int,
    positions: Positions = (),
    *,
    steps: Count = 10,
    embedding: CountOrZero = 0,
    width: Count = 32,
    norm: Norm = "batch",
    dropout: Share = 0.2,
) -> NoPropNetwork:
    """Return the network for inputs like `example`.

    Args:
        example: a small batch of inputs.
        num_classes: C.
        positions: where a sample's beliefs are, as the task says.
        steps: Number T of diffusion steps, each of which is a block of its own.
        embedding: Width of the classes' embedding, which is trained; 0 makes it one-hot.
        width: Channels of the first convolution of a block; its linear layers have eight times as many units.
        norm: Normalisation after the linear layers: over the batch as published, or over each sample.
        dropout: Dropout of a block's input features.
    """
    embed = LabelEmbedding(num_classes, embedding)
    size = embed.weight.shape[1]
    blocks = (Denoiser(example, num_classes, size, width=width, norm=norm, dropout=dropout) for _ in range(steps))
    return NoPropNetwork(blocks, embed)
