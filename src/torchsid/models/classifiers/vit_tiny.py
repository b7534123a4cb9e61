"""Vision transformer: 8x8 patches, 12 blocks of width 192."""

from typing import Annotated

from annotated_types import Ge, MultipleOf
from torch import Tensor

from torchsid.models.vit import ViTTiny
from torchsid.settings import checked


@checked
def vit_tiny(example: Tensor, num_classes: int, *, width: Annotated[int, Ge(64), MultipleOf(64)] = 192) -> ViTTiny:
    """Return the network for images like `example`, `[B, channels, S, S]`.

    Args:
        example: a batch of images.
        num_classes: C.
        width: Width of the tokens, a multiple of 64: every attention head is 64 wide.
    """
    return ViTTiny(example, num_classes, width=width)
