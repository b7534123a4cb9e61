"""Parts of a certificate from beliefs that are known, and the page that they make."""

from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor

from torchsid import LocalObjective
from torchsid.show.certificate.part import Part, Subject
from torchsid.study.atlas import AtlasMaker
from torchsid.study.certify.certificate import certify

PartOf = Callable[..., Part]
SubjectOf = Callable[..., Subject]


def network(images: Tensor, depth: int, num_classes: int) -> Tensor:
    """Log-beliefs `[L+1, N, C]` as a function of the pixels alone, that change with the stage."""
    seeds = images.flatten(1).double().sum(1, keepdim=True)
    classes = torch.arange(num_classes).double()
    stages = [torch.zeros(len(images), num_classes).double()]
    for stage in range(1, depth + 1):
        stages.append(2 * torch.sin(seeds * (1 + classes) + 0.4 * stage) + stages[-1])
    return torch.stack(stages).float().log_softmax(-1)


@pytest.fixture(scope="session")
def part_of() -> PartOf:
    """Return a function from a split, labels by name (or their number of wrong ones) and sizes to a part."""

    def make(
        split: str = "test",
        *,
        depth: int = 3,
        num_classes: int = 4,
        count: int = 40,
        size: int = 4,
        channels: int = 1,
        wrong: int = 0,
        answers: Sequence[Sequence[int]] | None = None,
        truth: Sequence[int] | None = None,
    ) -> Part:
        generator = torch.Generator().manual_seed(count + num_classes)
        images = torch.randint(256, (count, channels, size, size), dtype=torch.uint8, generator=generator)
        beliefs = network(images, depth, num_classes) if answers is None else sure_of(torch.tensor(answers), num_classes)
        clean = torch.randint(num_classes, (count,), generator=generator) if truth is None else torch.tensor(truth)
        labels = {"training" if split == "train" else "held-out": torch.where(torch.arange(count) < wrong, clean + 1, clean)}
        labels = {name: classes % num_classes for name, classes in labels.items()} | ({"clean": clean} if wrong else {})
        maker = AtlasMaker(labels)
        found = certify(lambda _: beliefs, images, labels, LocalObjective(), prepare=lambda x: x, onlooker=maker.add)
        return Part(split, images, labels, found, maker.atlas())

    return make


def sure_of(answers: Tensor, num_classes: int) -> Tensor:
    """Log-beliefs `[L+1, N, C]` that go from stage to stage for the answers `[L, N]`, after a uniform prior."""
    logits = torch.zeros(len(answers) + 1, answers.shape[1], num_classes)
    for stage, classes in enumerate(answers, 1):
        logits[stage] = 3 * torch.nn.functional.one_hot(classes, num_classes) + 0.1 * stage
    return logits.log_softmax(-1)


@pytest.fixture(scope="session")
def subject_of() -> SubjectOf:
    """Return a function from class names and depth to a subject."""

    def make(names: Sequence[str] = tuple("abcd"), depth: int = 3, classes: tuple[int, int, int] | None = None) -> Subject:
        return Subject("run-1", "Data none", names, ["A theory."], lambda images: network(images, depth, len(names)), classes)

    return make
