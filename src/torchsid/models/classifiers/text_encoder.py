"""A transformer encoder of texts: each token with its neighbours, pre-norm blocks of attention, the mean over the tokens."""

from typing import Annotated, ClassVar

import torch
from annotated_types import Ge, MultipleOf
from torch import Tensor, nn
from torch.nn import functional as F

from torchsid.core.masks import PADDING
from torchsid.heads.features import without_padding
from torchsid.heads.transformer import Block
from torchsid.models.tokens import length_of
from torchsid.settings import Count, Share, checked


class TextEncoder(nn.Module):
    """From tokens `[B, T]`, int64, to logits `[B, num_classes]`; padding, token 0, is neither attended to nor part of the mean.

    A convolution of three tokens stands in front of the blocks: from a few thousand texts attention alone hardly learns order.

    Args:
        example: a batch of tokens; the model reads up to as many as it has, and none above its highest.
        num_classes: C.
        width: Width of the tokens, a multiple of `heads`.
        blocks: Number of blocks.
        heads: Attention heads of a block.
        dropout: Probability of dropout after the embedding, the attention and in the MLP.

    Raises:
        ValueError: the example holds no tokens, or the width is no multiple of `heads`.
    """

    task: ClassVar[str] = "text"

    @checked
    def __init__(
        self,
        example: Tensor,
        num_classes: int,
        *,
        width: Annotated[int, Ge(2), MultipleOf(2)] = 128,
        blocks: Count = 4,
        heads: Count = 4,
        dropout: Share = 0.1,
    ) -> None:
        length = length_of(example)
        if width % heads:
            raise ValueError(f"width={width} must be a multiple of heads={heads}")
        super().__init__()
        self.tokens = nn.Embedding(int(example.max()) + 1, width)
        self.positions = nn.Parameter(torch.empty(length, width))
        self.near = nn.Conv1d(width, width, 3, padding=1)
        self.drop = nn.Dropout(dropout)
        self.blocks = nn.ModuleList(Block(width, heads, 4 * width, dropout) for _ in range(blocks))
        self.norm = nn.LayerNorm(width)
        self.classifier = nn.Linear(width, num_classes)
        nn.init.normal_(self.tokens.weight, std=0.02)
        nn.init.normal_(self.positions, std=0.02)

    def mask_of(self, tokens: Tensor) -> Tensor:
        """Return which tokens count, bool `[B, T]`."""
        return tokens != PADDING

    def forward(self, tokens: Tensor) -> Tensor:
        """Return the logits of texts `[B, T]` that have a token each."""
        mask = self.mask_of(tokens)
        x = self.drop(self.tokens(tokens) + self.positions[: tokens.shape[1]])
        x = x + F.gelu(self.near(without_padding(x, mask).mT).mT)
        for block in self.blocks:
            x = block(x, mask)
        mean = without_padding(self.norm(x), mask).sum(1) / mask.sum(1, keepdim=True)
        logits: Tensor = self.classifier(mean)
        return logits
