"""Eight residual blocks of two linear layers on the flattened image."""

from typing import Annotated

from annotated_types import Ge
from torch import Tensor

from torchsid.models.block_mlp import BlockMLP
from torchsid.models.images import side_of
from torchsid.settings import checked


@checked
def mlp(example: Tensor, num_classes: int, *, width: Annotated[int, Ge(1)] = 256) -> BlockMLP:
    """Return the network for images like `example`, `[B, channels, S, S]`.

    Args:
        example: a batch of images.
        num_classes: C.
        width: Width of the features.
    """
    return BlockMLP(num_classes=num_classes, in_channels=example.shape[1], image_size=side_of(example), width=width)
