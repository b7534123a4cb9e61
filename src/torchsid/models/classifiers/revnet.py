"""A reversible residual network: convolutions on halves of the channels, or linear layers on flat inputs."""

from typing import Annotated, Literal

from annotated_types import Ge, MultipleOf
from torch import Tensor, nn

from torchsid.models.images import side_of
from torchsid.models.reversible import Coupling, ReversibleNetwork, Transition
from torchsid.settings import Count, checked

Norm = Literal["batch", "layer"]


@checked
def revnet(
    example: Tensor,
    num_classes: int,
    *,
    width: Annotated[int, Ge(2), MultipleOf(2)] = 64,
    levels: Count = 3,
    blocks_per_level: Count = 2,
    norm: Norm = "batch",
) -> ReversibleNetwork:
    """Return the network for inputs like `example`: images, which convolutions read, or anything else, flat, by linear layers.

    A stem; on each level reversible stages, F being twice a 3x3 convolution (or a linear layer), a normalisation and ReLU; between
    levels one of these with stride 2 that doubles the channels; then the mean over the image, and a linear layer.

    Args:
        example: a small batch of inputs.
        num_classes: C.
        width: Channels of the first level, both halves together.
        levels: Number of levels.
        blocks_per_level: Reversible stages on each.
        norm: Normalisation: over the batch as published, or over each sample.
    """
    flat = example.dim() != 4
    if not flat:
        side_of(example, least=2 ** (levels - 1))

    def mixing(channels_in: int, channels: int, stride: int = 1) -> list[nn.Module]:
        layer = nn.Linear(channels_in, channels, bias=False) if flat else nn.Conv2d(channels_in, channels, 3, stride, 1, bias=False)
        over_batch = nn.BatchNorm1d if flat else nn.BatchNorm2d
        return [layer, over_batch(channels) if norm == "batch" else nn.GroupNorm(1, channels), nn.ReLU()]

    enters = [nn.Flatten(), *mixing(example[0].numel(), width)] if flat else mixing(example.shape[1], width)
    stages: list[nn.Module] = [Transition(*enters)]
    for level in range(levels):
        if level:
            stages.append(Transition(*mixing(width, 2 * width, stride=2)))
            width *= 2
        half = width // 2
        stages += [Coupling(nn.Sequential(*mixing(half, half), *mixing(half, half))) for _ in range(blocks_per_level)]
    leaves = [] if flat else [nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return ReversibleNetwork([*stages, nn.Sequential(*leaves, nn.Linear(width, num_classes))], num_classes)
