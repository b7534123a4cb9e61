"""The paper's extractor with a linear layer on top."""

from collections import OrderedDict

from torch import Tensor, nn

from torchsid.models.extractors.simple_cnn import SimpleCNN
from torchsid.settings import Count, checked


@checked
def simple_cnn(example: Tensor, num_classes: int, *, width: Count = 128) -> nn.Sequential:
    """Return `SimpleCNN` as `extractor`, then a linear `head`: images `[B, C, S, S]` to logits `[B, num_classes]`.

    Args:
        example: a batch of images, of 4 pixels a side or more.
        num_classes: C.
        width: Width of the features before the last layer.
    """
    extractor = SimpleCNN(example, feature_dim=width)
    for module in extractor:
        if isinstance(module, nn.ReLU):
            module.inplace = False  # the network may be cut before any layer, and a cut's tensors are shared
    return nn.Sequential(OrderedDict(extractor=extractor, head=nn.Linear(width, num_classes)))
