"""Small classifiers cut into stages, in float64, for the tests of methods that train those."""

from typing import Any

import torch
from torch import Tensor, nn

from torchsid import StagedCascade, staged_cascade

CLASSES, BATCH = 3, 6
SHAPES = {"vectors": (5,), "maps": (2, 8, 8)}


def trunk(form: str) -> nn.Sequential:
    if form == "vectors":
        hidden = (part for inputs in (5, 7, 7) for part in (nn.Linear(inputs, 7), nn.Tanh()))
        return nn.Sequential(*hidden, nn.Linear(7, CLASSES))
    blocks = (
        nn.Sequential(nn.Conv2d(inputs, outputs, 3, stride, 1), nn.BatchNorm2d(outputs), nn.Tanh())
        for inputs, outputs, stride in ((2, 8, 1), (8, 8, 2), (8, 8, 1), (8, 9, 2))
    )
    return nn.Sequential(*blocks, nn.Flatten(), nn.Linear(36, CLASSES))


def cut(form: str = "vectors", stages: int = 3, **settings: Any) -> StagedCascade:
    """The same weights at every call."""
    torch.manual_seed(0)
    model = trunk(form)
    return staged_cascade(model, CLASSES, stages, torch.zeros(2, *SHAPES[form]), **{"max_head_share": 100.0} | settings).double()


def batch(form: str = "vectors") -> tuple[Tensor, Tensor]:
    return torch.randn(BATCH, *SHAPES[form], generator=torch.Generator().manual_seed(0), dtype=torch.float64), torch.arange(
        BATCH
    ) % 3


class DeafHead(nn.Module):
    """A head that does not read the belief."""

    def __init__(self, features: Tensor, num_classes: int) -> None:
        super().__init__()
        self.linear = nn.Linear(features.shape[1], num_classes)

    def forward(self, features: Tensor, log_belief: Tensor) -> Tensor:
        logits: Tensor = self.linear(features.flatten(2).mean(2) if features.dim() > 2 else features)
        return logits


def stage_features(cascade: StagedCascade, x: Tensor) -> tuple[list[Tensor], list[Tensor]]:
    """What the head of every stage reads and says, each stage having a graph of its own."""
    features, logits = list[Tensor](), list[Tensor]()

    def close(stage: int, tensors: list[Tensor]) -> list[Tensor]:
        features.append(tensors[0])
        logits.append(cascade.answer(stage, tensors, cascade.prior(tensors[0]))[1])
        return [tensor.detach() for tensor in tensors]

    cascade.run(x, close)
    return features, logits
