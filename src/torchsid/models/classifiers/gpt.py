"""A decoder-only language model: pre-norm blocks of causal attention, learned positions, a readout of its own."""

from typing import Annotated, ClassVar

import torch
from annotated_types import Ge, MultipleOf
from torch import Tensor, nn

from torchsid.heads.transformer import Block
from torchsid.models.tokens import length_of
from torchsid.settings import Count, Share, checked


class GPT(nn.Module):
    """From tokens `[B, T]`, int64, to logits of the next one, `[B, T, num_classes]`: GPT-2's way (A. Radford et al., 2019).

    Embedding and readout are not tied: cut into stages, the first would own what the last trains.

    Args:
        example: a batch of tokens; the model reads up to as many as it has.
        num_classes: V, the size of the vocabulary.
        width: Width of the tokens, a multiple of `heads`.
        blocks: Number of blocks.
        heads: Attention heads of a block.
        dropout: Probability of dropout after the embedding, the attention and in the MLP.

    Raises:
        ValueError: the example holds no tokens, or the width is no multiple of `heads`.
    """

    task: ClassVar[str] = "language"

    @checked
    def __init__(
        self,
        example: Tensor,
        num_classes: int,
        *,
        width: Annotated[int, Ge(2), MultipleOf(2)] = 128,
        blocks: Count = 4,
        heads: Count = 4,
        dropout: Share = 0.0,
    ) -> None:
        length = length_of(example)
        if width % heads:
            raise ValueError(f"width={width} must be a multiple of heads={heads}")
        super().__init__()
        self.tokens = nn.Embedding(num_classes, width)
        self.positions = nn.Parameter(torch.empty(length, width))
        self.drop = nn.Dropout(dropout)
        self.blocks = nn.Sequential(*(Block(width, heads, 4 * width, dropout, causal=True) for _ in range(blocks)))
        self.norm = nn.LayerNorm(width)
        self.readout = nn.Linear(width, num_classes, bias=False)
        nn.init.normal_(self.positions, std=0.02)
        for name, module in self.named_modules():
            if isinstance(module, nn.Linear | nn.Embedding):  # what is added to the residual stream adds up to 1
                last = name.endswith(("attn.proj", "mlp.fc2"))
                nn.init.normal_(module.weight, std=0.02 / ((2 * blocks) ** 0.5 if last else 1))
            if isinstance(module, nn.Linear) and module.bias is not None:
                nn.init.zeros_(module.bias)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return the logits `[B, T, V]` of the token after each."""
        x = self.drop(self.tokens(tokens) + self.positions[: tokens.shape[1]])
        logits: Tensor = self.readout(self.norm(self.blocks(x)))
        return logits
