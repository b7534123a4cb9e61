"""Vision transformer: 8x8 patches, 12 blocks of width 192."""

from collections import OrderedDict
from typing import Annotated

import torch
from annotated_types import Ge, MultipleOf
from torch import Tensor, nn

from torchsid.heads.transformer import HEAD_WIDTH, Block
from torchsid.models.images import side_of
from torchsid.settings import checked

PATCHES_A_SIDE = 8


class ViTTiny(nn.Module):
    """A vision transformer (arXiv 2010.11929) of the size that DeiT calls tiny (arXiv 2012.12877); the class token answers.

    Maps images `[B, channels, S, S]` to logits `[B, num_classes]`. Names and initialisation are those of
    timm's `vit_tiny`: a state dict of the same shape loads.

    5,362,762 parameters and 0.37 G multiply-adds (10 classes, 32 pixels, patches of 4); 5,717,416 parameters with patches of 16
    at 224 pixels and 1000 classes. Published accuracy of a ViT made for small data, trained by backpropagation: CIFAR-10 93.6 %,
    CIFAR-100 73.8 %, Tiny-ImageNet 57.1 %.

    Args:
        example: a batch of images, whose side is a multiple of `patch_size`.
        num_classes: C.
        patch_size: side of a patch in pixels; None: an eighth of the image, hence 64 patches.
        depth: number of blocks.
        heads: number of attention heads; None: one for every 64 of `width`.
        mlp_ratio: hidden width of a block's MLP, in units of `width`.
        dropout: probability of dropout after the embedding, the attention and both layers of the MLP.
        width: Width of the tokens, a multiple of 64: every attention head is 64 wide.

    Raises:
        ValueError: the image does not divide into patches, or the width is out of range.
    """

    @checked
    def __init__(
        self,
        example: Tensor,
        num_classes: int,
        patch_size: int | None = None,
        depth: int = 12,
        heads: int | None = None,
        mlp_ratio: float = 4.0,
        dropout: float = 0.0,
        *,
        width: Annotated[int, Ge(HEAD_WIDTH), MultipleOf(HEAD_WIDTH)] = 192,
    ) -> None:
        image_size = side_of(example)
        if image_size % (patch_size or PATCHES_A_SIDE):
            raise ValueError(f"image_size={image_size} must be a multiple of {patch_size or PATCHES_A_SIDE}")
        patch_size, heads = patch_size or image_size // PATCHES_A_SIDE, heads or width // HEAD_WIDTH
        super().__init__()
        self.patch_embed = nn.Sequential(OrderedDict(proj=nn.Conv2d(example.shape[1], width, patch_size, stride=patch_size)))
        self.cls_token = nn.Parameter(torch.empty(1, 1, width))
        self.pos_embed = nn.Parameter(torch.empty(1, 1 + (image_size // patch_size) ** 2, width))
        self.pos_drop = nn.Dropout(dropout)
        self.blocks = nn.Sequential(*(Block(width, heads, int(width * mlp_ratio), dropout) for _ in range(depth)))
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.head = nn.Linear(width, num_classes)
        nn.init.normal_(self.cls_token, std=1e-6)
        nn.init.trunc_normal_(self.pos_embed, std=0.02)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits `[B, num_classes]` of images `[B, channels, S, S]`."""
        x = self.patch_embed(x).flatten(2).transpose(1, 2)  # [B, patches, width], row by row
        x = torch.cat([self.cls_token.expand(x.shape[0], -1, -1), x], dim=1)  # [B, 1 + patches, width]
        x = self.blocks(self.pos_drop(x + self.pos_embed))
        logits: Tensor = self.head(self.norm(x[:, 0]))
        return logits
