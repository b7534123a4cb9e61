"""The classifiers of the registry, small, each taken apart by hand."""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor, nn

from torchsid import StagedCascade, models, staged_cascade
from torchsid.models.classifiers.vit_tiny import ViTTiny

BATCH, CLASSES = 4, 5
Piece = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Case:
    """A classifier, two cuts, and the three pieces that they make of it."""

    size: int
    cuts: tuple[str, ...]
    pieces: Callable[[nn.Module], list[Piece]]
    width: int = 4


def _vit(model: nn.Module) -> list[Piece]:
    def first(x: Tensor) -> Tensor:
        tokens = model.patch_embed(x).flatten(2).mT
        tokens = torch.cat([model.cls_token.expand(len(x), -1, -1), tokens], 1)
        return model.blocks[:2](model.pos_drop(tokens + model.pos_embed))

    return [first, model.blocks[2:3], lambda tokens: model.head(model.norm(model.blocks[3:](tokens)[:, 0]))]


def _chain(*modules: nn.Module) -> nn.Sequential:
    return nn.Sequential(*modules)


def _imagenet(model: nn.Module) -> list[Piece]:
    parts = list(model)
    return [_chain(*parts[:4]), _chain(*parts[4:6]), _chain(*parts[6:])]


CASES = {
    "simple-cnn": Case(
        8,
        ("extractor.4", "extractor.9"),
        lambda m: [_chain(*(e := list(m.extractor))[:5]), _chain(*e[5:10]), _chain(*e[10:], m.head)],
    ),
    "mlp": Case(
        4,
        ("blocks.1", "blocks.4"),
        lambda m: [_chain(m.flatten, m.stem, *m.blocks[:2]), m.blocks[2:5], _chain(*m.blocks[5:], m.norm, m.head)],
    ),
    "resnet-18": Case(
        16,
        ("layer1.0", "layer3"),
        lambda m: [
            _chain(m.conv1, m.bn1, m.relu, m.layer1[0]),
            _chain(m.layer1[1], m.layer2, m.layer3),
            _chain(m.layer4, m.avgpool, m.flatten, m.fc),
        ],
    ),
    "resnet-18-imagenet": Case(32, ("maxpool", "layer2"), _imagenet),
    "resnet-50": Case(32, ("maxpool", "layer2"), _imagenet),
    "vgg-11": Case(
        32,
        ("features.7", "features.17"),
        lambda m: [m.features[:8], m.features[8:18], _chain(m.features[18:], m.avgpool, m.flatten, m.classifier)],
    ),
    "vit with dropout": Case(8, ("blocks.1", "blocks.2"), _vit),
}


def classifier(name: str) -> nn.Module:
    """A small classifier in float64."""
    case = CASES[name]
    torch.manual_seed(0)
    if name == "vit with dropout":
        vit = ViTTiny(torch.empty(2, 1, case.size, case.size), CLASSES, width=64, heads=2, depth=4, dropout=0.3)
        nn.init.normal_(vit.cls_token)
        return vit.double()
    model = models.classifier(name, num_classes=CLASSES, in_channels=1, image_size=case.size, width=case.width)
    return model.double()


def images(name: str) -> tuple[Tensor, Tensor]:
    """A batch of images in float64, and its classes."""
    generator = torch.Generator().manual_seed(1)
    size = CASES[name].size
    x = torch.randn(BATCH, 1, size, size, generator=generator, dtype=torch.float64)
    return x, torch.randint(CLASSES, (BATCH,), generator=generator)


def cut(name: str, *, by: str = "boundary", residual: bool = True, head: str = "auto") -> StagedCascade:
    """The classifier cut in three, none of whose gradients is zero."""
    return copy.deepcopy(_cut(name, by, residual, head))


@cache
def _cut(name: str, by: str, residual: bool, head: str) -> StagedCascade:
    model = classifier(name)
    example = images(name)[0]
    cascade = staged_cascade(
        model, CLASSES, CASES[name].cuts, example, by=by, residual=residual, head=head, max_head_share=100.0
    ).double()
    return randomised(cascade)


def randomised(cascade: StagedCascade) -> StagedCascade:
    """Give zero output layers, which would hide wrong gradients, values."""
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in cascade.heads.parameters():
            if not parameter.any():
                parameter.copy_(0.3 * torch.randn(parameter.shape, generator=generator))
    return cascade


def twin(cascade: StagedCascade, name: str) -> tuple[StagedCascade, list[Piece]]:
    """A copy of the cascade, and the pieces of its model."""
    other = copy.deepcopy(cascade)
    return other, CASES[name].pieces(other.model)
