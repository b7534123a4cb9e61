"""Small models with something that stands in the way of a cut."""

import copy

import torch
from torch import Tensor, nn
from torch.nn import functional as F

CLASSES = 5
X = torch.randn(6, 4, generator=torch.Generator().manual_seed(1))
TARGET = torch.arange(6) % CLASSES


class Chain(nn.Module):
    """Three hidden layers `a`, `b`, `c` of width 8, and `d` to logits."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c, self.d = nn.Linear(4, 8), nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.d(self.c(self.b(self.a(x).relu()).relu()).relu())


class LongSkip(Chain):
    """`a` is read again behind `b`, from where the model keeps it."""

    def forward(self, x: Tensor) -> Tensor:
        self.kept = self.a(x).relu()
        return self.d((self.c(self.b(self.kept).relu()) + self.kept).relu())


class LeaksWhenNegative(Chain):
    """A skip from `a` past `b` that only some batches take."""

    def forward(self, x: Tensor) -> Tensor:
        h = self.a(x).relu()
        skip = h if x[0, 0] < 0 else torch.zeros_like(h)
        return self.d(self.c(self.b(h).relu()).relu() + skip)


class LeaksWithoutSavedTensors(Chain):
    """The same, from an addition, for which autograd saves nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.shift = nn.Parameter(torch.zeros(4))

    def forward(self, x: Tensor) -> Tensor:
        shifted = x + self.shift
        h = self.a(shifted).relu()
        skip = F.pad(shifted, (0, 4)) if x[0, 0] < 0 else torch.zeros_like(h)
        return self.d(self.c(self.b(h).relu()).relu() + skip)


class Tied(Chain):
    """`b` and `c` have one weight."""

    def __init__(self) -> None:
        super().__init__()
        self.c.weight = self.b.weight


class TiedModule(Chain):
    """The same layer runs twice."""

    def __init__(self) -> None:
        super().__init__()
        self.c = self.b


class SharedReLU(Chain):
    """One activation module everywhere."""

    def __init__(self) -> None:
        super().__init__()
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.d(self.relu(self.c(self.relu(self.b(self.relu(self.a(x)))))))


class FunctionalDropout(Chain):
    def forward(self, x: Tensor) -> Tensor:
        return self.d(self.c(F.dropout(self.b(self.a(x).relu()), 0.5, self.training)))


class TwiceInTraining(Chain):
    def forward(self, x: Tensor) -> Tensor:
        h = self.a(x).relu()
        return self.d(self.c(self.b(2 * h if self.training else h)))


class Scaled(Chain):
    def forward(self, x: Tensor, scale: float = 3.0) -> Tensor:
        return self.d(self.c(self.b(scale * self.a(x))))


class TwoInputs(Chain):
    def forward(self, x: Tensor, shift: Tensor) -> Tensor:
        return self.d(self.c(self.b(self.a(x) + shift)))


class Branches(nn.Module):
    """Returns two tensors, the first of which is the older."""

    def __init__(self) -> None:
        super().__init__()
        self.wide, self.narrow = nn.Linear(8, 8), nn.Linear(8, 3)

    def forward(self, h: Tensor) -> tuple[Tensor, Tensor]:
        wide = self.wide(h)
        return wide, self.narrow(h)


class TwoTensorsCross(Chain):
    def __init__(self) -> None:
        super().__init__()
        self.b, self.c = Branches(), nn.Linear(11, 8)

    def forward(self, x: Tensor) -> Tensor:
        wide, narrow = self.b(self.a(x).relu())
        return self.d(self.c(torch.cat([wide, narrow], -1)).relu())


class SometimesSkips(Chain):
    """Does not run `b` in some batches."""

    def forward(self, x: Tensor) -> Tensor:
        h = self.a(x).relu()
        if x[0, 0] > 0:
            h = self.b(h).relu()
        return self.d(self.c(h).relu())


class Frozen(Chain):
    """`a` runs without gradients, in one of the ways there are."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how = {"no_grad": torch.no_grad, "inference_mode": torch.inference_mode}[how]

    def forward(self, x: Tensor) -> Tensor:
        with self.how():
            h = self.a(x).relu()
        return self.d(self.c(self.b(h.clone()).relu()).relu())


class Shortcut(nn.Module):
    """A residual block whose shortcut is a module that returns its own input."""

    def __init__(self, shortcut: nn.Module) -> None:
        super().__init__()
        self.shortcut, self.inner = shortcut, nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        kept = self.shortcut(x)
        return self.inner(x).relu() + kept


class Shortcuts(Chain):
    def __init__(self, shortcut: nn.Module) -> None:
        super().__init__()
        self.b, self.c = Shortcut(shortcut), Shortcut(copy.deepcopy(shortcut))

    def forward(self, x: Tensor) -> Tensor:
        return self.d(self.c(self.b(self.a(x))))


class Keeps(nn.Module):
    """A layer that keeps what it returns, as feature taps do."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.kept = nn.Linear(8, 8), torch.zeros(())

    def forward(self, x: Tensor) -> Tensor:
        self.kept = self.layer(x)
        return self.kept


class Taps(Chain):
    """What `b` keeps is read behind `c`."""

    def __init__(self) -> None:
        super().__init__()
        self.b = Keeps()

    def forward(self, x: Tensor) -> Tensor:
        return self.d(self.c(self.b(self.a(x))) + self.b.kept)


class Experts(Chain):
    """`b` and `c` are mixtures: the inputs decide which expert runs."""

    def __init__(self) -> None:
        super().__init__()
        self.b, self.c = (nn.ModuleList(nn.Linear(8, 8) for _ in range(2)) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        h = self.a(x).relu()
        for experts in (self.b, self.c):
            h = experts[int(x.sum() > 0)](h).relu()
        return self.d(h)


class ControlFlow(Chain):
    def forward(self, x: Tensor) -> Tensor:
        h = self.a(x)
        return self.d(h if h.sum() > 0 else -h)
