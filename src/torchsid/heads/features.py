"""Features and their positions: maps `[B, C, H, W]`, tokens `[B, T, D]`, vectors `[B, D]`, told apart by their rank."""

from torch import Tensor

FORMS = {2: "vectors", 3: "tokens", 4: "maps"}


def channels(features: Tensor) -> int:
    """Return the width of the features at one position."""
    return features.shape[1 if features.dim() == 4 else -1]


def describe(features: Tensor) -> str:
    """Return the form and the shape of a sample for a message, as `maps [B, 64, 8, 8]`."""
    form = FORMS.get(features.dim(), f"features of rank {features.dim()},")
    return f"{form} [{', '.join(['B', *map(str, features.shape[1:])][: features.dim()])}]"


def mean_over_positions(features: Tensor) -> Tensor:
    """Return `[B, C]`: the mean over a map's pixels or over the tokens, vectors as they are."""
    if features.dim() == 4:
        return features.mean((2, 3))
    return features.mean(1) if features.dim() == 3 else features
