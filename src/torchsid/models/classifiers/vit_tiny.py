"""Vision transformer: 8x8 patches, 12 blocks of width 192."""

from typing import Annotated

from annotated_types import Ge, MultipleOf
from torch import Tensor

from torchsid.models.images import side_of
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
    side = side_of(example, least=8, step=8, why="the image is cut into 8 x 8 patches")
    return ViTTiny(num_classes=num_classes, in_channels=example.shape[1], image_size=side, width=width)
