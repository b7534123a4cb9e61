"""The trunk's later changes of shape at a fraction of their width, pool, linear; vectors, tokens, maps.

A stage learns features that serve a deep network when its loss is seen through a deep network; narrow, that costs little. Compare
AugLocal (ICLR 2024, arXiv 2402.17318), whose auxiliary networks are whole later layers, as in the head `trunk`.
"""

from collections.abc import Iterable
from copy import deepcopy
from itertools import pairwise
from typing import Annotated, Literal

import torch
from annotated_types import Gt, Le
from torch import Tensor, nn

from torchsid.heads.features import MapNorm, channels, mean_over_positions, without_padding
from torchsid.settings import checked

LEAST = 16  # channels of a narrowed layer, or as many as the features have


class ThinBody(nn.Module):
    """A narrow copy of what follows: `v = mean(blocks(entry(features)))`, all at the fraction k of the width.

    * Maps: a convolution to k·C channels, then a residual block (two 3x3 convolutions with BatchNorm) for every later change of
      channels or side, to k of those channels and that side, or behind a strided entry half of it, but no less than the trunk's
      last; one block if there is none.
    * Tokens: a linear layer to k·D, a transformer block (pre-norm), LayerNorm. A head that answers at each token looks at no other
      one, and a causal trunk stays causal: a residual perceptron takes the block's place.
    * Vectors: a linear layer to k·D and a residual perceptron.

    No layer has fewer than 16 channels, unless the features have.

    Args:
        later: the trunk's modules after the stage; left as they are. Behind one that cannot be followed none is looked at.
        pool: whether to take the mean over the positions at the end; otherwise every token has a `v` of its own.
        width: The fraction k.
        entry: Of a head on maps, a 3x3 convolution with stride 2 first (`strided`, which keeps less), or a 1x1 one (`pointwise`).
    """

    @checked
    def __init__(
        self,
        example: Tensor,
        later: Iterable[nn.Module] = (),
        pool: bool = True,
        *,
        width: Annotated[float, Gt(0), Le(1)] = 0.33,
        entry: Literal["pointwise", "strided"] = "strided",
    ) -> None:
        super().__init__()
        self.pool = pool

        def narrow(channels: int) -> int:
            return min(channels, max(LEAST, 8 * round(width * channels / 8)))  # of 8, as matrix units like it

        inner = narrow(channels(example))
        layers: list[nn.Module] = [nn.Linear(channels(example), inner)]
        if example.dim() == 4:
            shapes = _shapes(example, later)  # channels and side of the features, and of the trunk's maps behind them
            sides = [side for _, side in shapes]
            kernel, stride = (3, 2) if entry == "strided" and sides[0] >= 2 * sides[-1] else (1, 1)
            layers = [*_convolution(channels(example), inner, kernel, stride), nn.ReLU()]
            side = -(-sides[0] // stride)
            for (_, before), (following, after) in pairwise(shapes) if len(shapes) > 1 else [(shapes[0], shapes[0])]:
                stride = max(round(before / after), 1) if side > sides[-1] else 1  # a strided entry is ahead of the trunk
                layers.append(ResidualBlock(inner, narrow(following), stride))
                inner, side = narrow(following), -(-side // stride)
        elif example.dim() == 3 and pool:
            heads = max(d for d in range(1, 1 + max(inner // LEAST, 1)) if inner % d == 0)
            layers += [
                nn.TransformerEncoderLayer(
                    inner, heads, 4 * inner, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
                ),
                nn.LayerNorm(inner),
            ]
        else:
            layers += [ResidualPerceptron(inner), nn.LayerNorm(inner)]
        self.width = inner
        self.layers = nn.Sequential(*layers)

    def forward(self, features: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return `v`, `[B, width]`, or `[B, T, width]`."""
        if not self.pool:
            return self.layers(features)  # type: ignore[no-any-return]
        if mask is None:
            return mean_over_positions(self.layers(features))
        entry, block, norm = self.layers
        attended = block(entry(without_padding(features, mask)), src_key_padding_mask=~mask)
        return mean_over_positions(norm(attended), mask)


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions with BatchNorm around a shortcut, on maps `[B, channels_in, H, W]`."""

    def __init__(self, channels_in: int, channels_out: int, stride: int) -> None:
        super().__init__()
        self.branch = nn.Sequential(
            *_convolution(channels_in, channels_out, 3, stride), nn.ReLU(), *_convolution(channels_out, channels_out, 3, 1)
        )
        same = stride == 1 and channels_in == channels_out
        self.shortcut = nn.Identity() if same else nn.Sequential(*_convolution(channels_in, channels_out, 1, stride))

    def forward(self, x: Tensor) -> Tensor:
        """Return the block's output; `x` is left alone."""
        out: Tensor = (self.branch(x) + self.shortcut(x)).relu()
        return out


class ResidualPerceptron(nn.Module):
    """`x + W₂ · gelu(W₁ · norm(x))` at every position, with a hidden layer of twice the width."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.branch = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        """Return the output, of the shape of `x`, which is left alone."""
        out: Tensor = x + self.branch(x)
        return out


def _convolution(channels_in: int, channels_out: int, kernel: int, stride: int) -> tuple[nn.Module, nn.Module]:
    convolution = nn.Conv2d(channels_in, channels_out, kernel, stride, kernel // 2, bias=False)
    return convolution, MapNorm(channels_out)


def _shapes(example: Tensor, later: Iterable[nn.Module]) -> list[tuple[int, int]]:
    """Return channels and side of the features, and of the maps after each later module that changes them.

    The list ends where a module cannot be followed.
    """
    x = torch.empty_like(example, device="meta")
    found = [(channels(x), min(x.shape[2:]))]
    for module in later:
        try:  # the modules are the user's: any error may come
            with torch.no_grad():
                x = _without_values(module).to(x.dtype).eval()(x)
            shape = (x.shape[1], min(x.shape[2:]))
        except Exception:
            break
        if x.dim() != 4:
            break
        if shape != found[-1]:
            found.append(shape)
    return found


def _without_values(module: nn.Module) -> nn.Module:
    """Return a copy on the meta device; the values, which may be gigabytes, are not copied."""
    empty: dict[int, Tensor] = {id(each): torch.empty_like(each, device="meta") for each in module.buffers()}
    for each in module.parameters():
        empty[id(each)] = nn.Parameter(torch.empty_like(each, device="meta"), requires_grad=False)
    return deepcopy(module, empty)
