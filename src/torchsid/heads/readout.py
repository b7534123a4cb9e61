"""A norm and a read-only copy of the last stage's readout, behind causal blocks if asked for; tokens answered one by one."""

from collections.abc import Iterable
from typing import Annotated, ClassVar

import torch
from annotated_types import Ge, Le
from torch import Tensor, nn

from torchsid.core.readout import ReadoutCopy
from torchsid.errors import HeadError
from torchsid.heads.features import channels, describe
from torchsid.heads.transformer import HEAD_WIDTH, Block
from torchsid.settings import Count, checked

_HEADS = ("heads", "num_heads", "n_head", "num_attention_heads")  # what attention layers call their number


class ReadoutBody(nn.Module):
    """`v = τ · norm(blocks(h))` at each token, for `z = W · v + b` with a copy of the last stage's W and b, which it never trains.

    Without blocks the stage itself makes features that the readout can read. Blocks are pre-norm transformer blocks as wide as the
    features, with an MLP of four times that. They know of positions what the features and causal attention tell them. At the start
    they are the identity, and τ is 1: `z = W · norm(h)`.

    Source: SOLO (Yin et al., arXiv 2609.35440): stages that are read in the last one's basis learn features that serve it.

    Args:
        later: the trunk's modules behind the stage, for the number of their attention heads; where none tells, one for 64 channels.
        readout: the copy of the last stage's readout.
        residual: whether what the copy makes of v is added to the previous belief: then τ is 0 at the start.
        blocks: Number of blocks, each one's work as a block of the trunk: 0 to 2.
        shared: Whether to read by the copy; otherwise the head has a readout of its own, which its loss trains.
        refresh: Steps S from one refresh of the copy to the next. Several workers then may be S steps apart before one waits.
        causal: Whether a token looks at itself and earlier ones alone, as where later ones are to be foretold. Say false for
            a trunk that reads both ways.

    Raises:
        HeadError: the readout is not known, or of another width.
    """

    reads: ClassVar[tuple[int, ...]] = (3,)
    pools: ClassVar[bool] = False

    @checked
    def __init__(
        self,
        example: Tensor,
        later: Iterable[nn.Module] = (),
        readout: ReadoutCopy | None = None,
        residual: bool = False,
        *,
        blocks: Annotated[int, Ge(0), Le(2)] = 1,
        shared: bool = True,
        refresh: Count = 1,
        causal: bool = True,
    ) -> None:
        super().__init__()
        self.width = width = channels(example)
        self.readouts: tuple[ReadoutCopy, ...] = ()
        if shared:
            way_out = "set shared=False for a readout of its own, or choose another head"
            if readout is None:
                raise HeadError(f"head 'readout' shares the linear layer that makes the model's logits, and none does: {way_out}")
            if (read := readout.weight.shape[1]) != width:
                raise HeadError(f"head 'readout' on {describe(example)}: the last readout reads {read} channels: {way_out}")
            readout.refresh = refresh
            self.readouts = (readout,)
        heads = _attention_heads(width, later)
        self.blocks = nn.Sequential(*(Block(width, heads, 4 * width, 0.0, causal=causal) for _ in range(blocks)))
        self.norm = nn.LayerNorm(width)
        self.scale = nn.Parameter(torch.full((), float(not (residual and shared))))
        for name, parameter in self.blocks.named_parameters():
            if ".attn.proj." in name or ".mlp.fc2." in name:  # what is added to the features
                nn.init.zeros_(parameter)

    def forward(self, features: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return `v`, `[B, T, D]`, from tokens of that shape; those that count, bool `[B, T]`, are the ones that others look at."""
        for block in self.blocks:
            features = block(features, mask)
        v: Tensor = self.scale * self.norm(features)
        return v


def _attention_heads(width: int, later: Iterable[nn.Module]) -> int:
    """Return the number of attention heads of the trunk, or else as many as there are 64 channels; it divides the width."""
    parts = (part for module in later for part in module.modules())
    told = (getattr(part, name, None) for part in parts for name in _HEADS)
    found = next((each for each in told if type(each) is int and each > 0 and width % each == 0), max(width // HEAD_WIDTH, 1))
    return max(each for each in range(1, found + 1) if width % each == 0)
