"""Which axis of a stage's features is what, and the arrangement in which heads read them."""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Axes:
    """The axes of the features that cross a cut."""

    batch: int = 0  # of the samples, in the features as the trunk makes them: 1 of `[T, B, D]`
    channels: int | None = None  # in the features with the batch first; None where it is where their rank says
    in_front: int | None = 0  # how many tokens stand before those of the inputs, as class tokens do; None where they are not those

    def batch_first(self, features: Tensor) -> Tensor:
        """Return the features with the batch first."""
        return features.movedim(self.batch, 0) if self.batch else features

    def arranged(self, features: Tensor) -> Tensor:
        """Return the features as vectors, tokens or maps; see `arranged`."""
        return arranged(self.batch_first(features), self.channels)

    def restored(self, features: Tensor) -> Tensor:
        """Return vectors, tokens or maps as the trunk has them."""
        if self.channels is not None:
            features = features.movedim(channels_by_rank(features.dim()), self.channels)
        return features.movedim(0, self.batch) if self.batch else features


def channels_by_rank(rank: int) -> int:
    """Return where the channels are unless something else is known: last of vectors and tokens, second of maps."""
    return 1 if rank > 3 else rank - 1


def arranged(features: Tensor, channels: int | None = None) -> Tensor:
    """Return features as heads read them: vectors `[B, D]`, tokens `[B, T, D]` or maps `[B, C, H, W]`; voxels are tokens.

    Without `channels` the last axis of three has them, and the second of four and more.
    """
    rank = features.dim()
    usual = channels_by_rank(rank)
    own = usual if channels is None else channels % rank
    if rank > 4:
        return features.movedim(own, -1).flatten(1, -2)
    return features if own == usual else features.movedim(own, usual)
