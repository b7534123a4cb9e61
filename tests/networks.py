"""Small networks and batches, and comparisons between them, for the tests of the core."""

import copy
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from torchsid import SharedCascade, Stage, shared_cascade
from torchsid.core.cascade import Positions
from torchsid.heads import HeadKind

BATCH, INPUTS, FEATURES, CLASSES = 9, 6, 5, 4
TOKENS, SLOTS = 3, 2


def restless_extractor() -> nn.Module:
    """An extractor that draws random numbers and counts its batches."""
    return nn.Sequential(nn.Linear(INPUTS, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.3), nn.Linear(8, FEATURES))


def frozen_extractor() -> nn.Module:
    return nn.Linear(INPUTS, FEATURES).requires_grad_(False)


class NormedHead(nn.Module):
    """A head of the user's own, which no closed form covers."""

    def __init__(self, num_features: int = FEATURES) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(num_features + CLASSES)
        self.linear = nn.Linear(num_features + CLASSES, CLASSES)

    def forward(self, features: Tensor, log_belief: Tensor) -> Tensor:
        logits: Tensor = self.linear(self.norm(torch.cat([features, log_belief.exp().to(features.dtype)], -1)))
        return logits


class ReadsBeliefs(nn.Module):
    """A last head of a staged cascade that adds the model's logits to the previous log-belief."""

    def forward(self, logits: Tensor, log_belief: Tensor) -> Tensor:
        return log_belief + logits


class TrunkStage(Stage):
    """A stage of a cut trunk: it makes the features that the next one reads."""

    def __init__(self) -> None:
        super().__init__(NormedHead())
        self.trunk = nn.Sequential(nn.Linear(FEATURES, FEATURES), nn.Tanh())

    def forward(self, features: Tensor, log_belief: Tensor) -> tuple[Tensor, Tensor]:
        made = self.trunk(features)
        return made, self.head(made, log_belief)


def randomise(cascade: SharedCascade) -> SharedCascade:
    """Give zero output layers, which would hide wrong gradients, values."""
    with torch.no_grad():
        for parameter in cascade.stages.parameters():
            if not parameter.any():
                parameter.normal_(std=0.5)
    return cascade


def small_cascade(
    depth: int = 4, *, stage: HeadKind = "plain", extractor: nn.Module | None = None, positions: Positions = ()
) -> SharedCascade:
    """A shared cascade of MLP heads in float64, none of whose gradients is zero."""
    extractor = extractor or nn.Sequential(nn.Linear(INPUTS, FEATURES), nn.Tanh())
    width = INPUTS if isinstance(extractor, nn.Identity) else FEATURES
    cascade = shared_cascade(extractor, CLASSES, depth, hidden=7, stage=stage, feature_dim=width, positions=positions)
    return randomise(cascade).double()


def normed_cascade(depth: int = 4, *, extractor: nn.Module | None = None) -> SharedCascade:
    """A shared cascade of heads of the user's own, in float64."""
    extractor = extractor or nn.Sequential(nn.Linear(INPUTS, FEATURES), nn.Tanh())
    width = INPUTS if isinstance(extractor, nn.Identity) else FEATURES
    return randomise(SharedCascade(extractor, [Stage(NormedHead(width)) for _ in range(depth)], CLASSES)).double()


def staged_cascade(depth: int = 4) -> SharedCascade:
    """A trunk cut into stages by hand, in float64."""
    return randomise(SharedCascade(nn.Linear(INPUTS, FEATURES), [TrunkStage() for _ in range(depth)], CLASSES)).double()


def small_batch(dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    """Inputs `[B, INPUTS]` and classes `[B]`."""
    generator = torch.Generator().manual_seed(1)
    return torch.randn(BATCH, INPUTS, generator=generator).to(dtype), torch.randint(CLASSES, (BATCH,), generator=generator)


def batch_at(positions: Positions) -> tuple[Tensor, Tensor, Tensor]:
    """Inputs, classes `[B, ...]` and weights of these positions; where the weight is 0 the class is nonsense."""
    generator = torch.Generator().manual_seed(4)
    where = (BATCH, TOKENS) if positions == "tokens" else (BATCH, *positions)
    x = torch.randn(*(where if positions == "tokens" else (BATCH,)), INPUTS, generator=generator, dtype=torch.float64)
    target = torch.randint(CLASSES, where, generator=generator)
    weight = torch.rand(where, generator=generator, dtype=torch.float64) * (torch.rand(where, generator=generator) > 0.3)
    return x, target.masked_fill(weight == 0, -100), weight


def rows(dtype: torch.dtype = torch.float64) -> Tensor:
    """Probability rows with full support, `[B, C]`."""
    return torch.randn(BATCH, CLASSES, generator=torch.Generator().manual_seed(2), dtype=torch.float64).softmax(-1).to(dtype)


def gradients(module: nn.Module) -> dict[str, Tensor | None]:
    return {name: None if p.grad is None else p.grad.clone() for name, p in module.named_parameters()}


def assert_same_gradients(module: nn.Module, expected: dict[str, Tensor | None], tolerance: float) -> None:
    found = gradients(module)
    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        assert (found[name] is None) == (gradient is None), name
        if gradient is not None:
            torch.testing.assert_close(
                found[name], gradient, atol=tolerance, rtol=tolerance, msg=lambda text, n=name: f"{n}: {text}"
            )


@dataclass(frozen=True)
class Snapshot:
    """All that a measurement must leave as it was."""

    state: dict[str, Tensor]
    gradients: dict[str, Tensor | None]  # the very tensors
    values: dict[str, Tensor | None]  # and copies of them
    modes: list[bool]
    random: Tensor


def snapshot(module: nn.Module) -> Snapshot:
    return Snapshot(
        state=copy.deepcopy(module.state_dict()),
        gradients={name: p.grad for name, p in module.named_parameters()},
        values=gradients(module),
        modes=[m.training for m in module.modules()],
        random=torch.get_rng_state(),
    )


def assert_untouched(module: nn.Module, before: Snapshot) -> None:
    after = snapshot(module)
    torch.testing.assert_close(after.state, before.state, rtol=0, atol=0)
    assert after.modes == before.modes
    assert torch.equal(after.random, before.random)
    for name, gradient in before.gradients.items():
        assert after.gradients[name] is gradient, name
        assert gradient is None or torch.equal(after.values[name], before.values[name]), name
