"""Four convolutions of 5 and 3 pixels without biases: the TinyCNN of DeeperForward."""

from collections import OrderedDict

from torch import Tensor, nn

from torchsid.models.images import side_of
from torchsid.settings import Count, Share, checked


@checked
def tiny_cnn(example: Tensor, num_classes: int, *, width: Count = 100, dropout: Share = 0.0) -> nn.Sequential:
    """Return four convolutions with ReLU, `pool`, `flatten` and a linear `head`: images `[B, C, S, S]` to `[B, num_classes]`.

    The image is normalised as a whole. Convolutions of 5, 5, 3 and 3 pixels have w, 2w, 4w and 4w channels (w = width) and begin
    with He's initialisation (fan-out); average pooling by 2 stands behind the first two. From L. Sun et al., ICLR 2025.

    Args:
        example: a batch of images, of 4 pixels a side or more.
        num_classes: C.
        width: First channels.
        dropout: Behind each ReLU.
    """
    side_of(example, least=4)
    channels = example.shape[1]
    parts = OrderedDict[str, nn.Module](norm=nn.GroupNorm(1, channels, affine=False))
    for i, (size, times, pools) in enumerate(((5, 1, True), (5, 2, True), (3, 4, False), (3, 4, False)), 1):
        conv = nn.Conv2d(channels, channels := times * width, size, padding=size // 2, bias=False)
        nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
        parts |= {f"conv_{i}": conv, f"relu_{i}": nn.ReLU()}
        parts |= {f"dropout_{i}": nn.Dropout(dropout)} if dropout else {}
        parts |= {f"pool_{i}": nn.AvgPool2d(2)} if pools else {}
    parts |= {"pool": nn.AdaptiveAvgPool2d(1), "flatten": nn.Flatten()}
    return nn.Sequential(parts | {"head": nn.Linear(channels, num_classes)})
