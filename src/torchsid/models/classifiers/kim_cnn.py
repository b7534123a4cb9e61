"""Convolutions over the words of a text, with max-pooling (Y. Kim, 2014)."""

from typing import ClassVar

import torch
from torch import Tensor, nn

from torchsid.core.masks import PADDING
from torchsid.heads.features import without_padding
from torchsid.models.tokens import length_of
from torchsid.settings import Count, Share, checked

WIDTHS = (3, 4, 5)


class KimCNN(nn.Module):
    """From tokens `[B, T]`, int64, to logits `[B, num_classes]`; padding, token 0, counts nowhere.

    It is one layer deep: cut behind its embedding, `cuts = ["tokens"]`, it has two stages, of which the first is read as a bag of
    words and trains the embedding alone; there are no more.

    Args:
        example: a batch of tokens, none of which is above its highest.
        num_classes: C.
        width: Width of the embedding.
        filters: Convolutions of 3, of 4 and of 5 tokens, each.
        dropout: Probability of dropout before the logits.

    Raises:
        ValueError: the example holds no tokens.
    """

    task: ClassVar[str] = "text"

    @checked
    def __init__(
        self, example: Tensor, num_classes: int, *, width: Count = 128, filters: Count = 100, dropout: Share = 0.5
    ) -> None:
        length_of(example)
        super().__init__()
        self.tokens = nn.Embedding(int(example.max()) + 1, width)
        nn.init.normal_(self.tokens.weight, std=0.02)  # what is seldom read says little; PyTorch's 1 drowns what is learnt
        self.convolutions = nn.ModuleList(nn.Conv1d(width, filters, size, padding=size // 2) for size in WIDTHS)
        self.drop = nn.Dropout(dropout)
        self.classifier = nn.Linear(len(WIDTHS) * filters, num_classes)

    def mask_of(self, tokens: Tensor) -> Tensor:
        """Return which tokens count, bool `[B, T]`."""
        return tokens != PADDING

    def forward(self, tokens: Tensor) -> Tensor:
        """Return the logits of texts `[B, T]`."""
        mask, length = self.mask_of(tokens), tokens.shape[1]
        x = without_padding(self.tokens(tokens), mask).transpose(1, 2)  # [B, width, T]
        found = torch.cat([convolution(x)[..., :length].relu() for convolution in self.convolutions], 1)
        strongest = found.masked_fill(~mask.unsqueeze(1), 0.0).amax(2)  # none is below 0
        logits: Tensor = self.classifier(self.drop(strongest))
        return logits
