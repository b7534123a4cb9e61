"""The paper's extractor with a linear layer on top."""

from collections import OrderedDict
from typing import Annotated

from annotated_types import Ge
from torch import Tensor, nn

from torchsid.models.extractors import simple_cnn
from torchsid.settings import checked


class SimpleCNN(nn.Sequential):
    """The extractor `SimpleCNN` as `extractor`, then a linear `head`: images `[B, C, S, S]` to logits `[B, num_classes]`.

    Args:
        example: a batch of images, of 4 pixels a side or more.
        num_classes: C.
        width: Width of the features before the last layer.
    """

    @checked
    def __init__(self, example: Tensor, num_classes: int, *, width: Annotated[int, Ge(1)] = 128) -> None:
        extractor = simple_cnn.SimpleCNN(example, feature_dim=width)
        for module in extractor:
            if isinstance(module, nn.ReLU):
                module.inplace = False  # the network may be cut before any layer, and a cut's tensors are shared
        super().__init__(OrderedDict(extractor=extractor, head=nn.Linear(width, num_classes)))
