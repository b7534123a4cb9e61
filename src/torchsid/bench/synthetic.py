"""What a network is fed with where only time, memory and traffic count: random samples of its task, the same at every call."""

from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from annotated_types import Ge
from torch import Tensor

from torchsid.settings import Count

Several = Annotated[int, Ge(2)]
SIZES_OF = {
    "images": ("image_size", "classes"),
    "text": ("context", "vocabulary", "classes"),
    "language": ("context", "vocabulary"),
}
"""The sizes of a sample of each task whose networks can be measured."""
UNITS = {"images": "images", "text": "texts", "language": "tokens"}


@dataclass(frozen=True, kw_only=True)
class Synthetic:
    """Samples of a task: images or texts of one class each, or windows of a text with the next token at every position."""

    task: Literal["images", "text", "language"]
    channels: Count = 3
    image_size: Count = 32
    classes: Several = 10
    context: Count = 64  # tokens of a text or a window
    vocabulary: Several = 65

    @property
    def outcomes(self) -> int:
        """C: the classes, or the vocabulary V of a language model."""
        return self.vocabulary if self.task == "language" else self.classes

    @property
    def positions(self) -> int:
        """The beliefs of a sample."""
        return self.context if self.task == "language" else 1

    @property
    def unit(self) -> str:
        """What is counted a second."""
        return UNITS[self.task]

    @property
    def shape(self) -> tuple[int, ...]:
        """Of a sample: `[K, S, S]` or `[T]`."""
        return (self.channels, self.image_size, self.image_size) if self.task == "images" else (self.context,)

    @property
    def sample_bytes(self) -> int:
        """Of a sample as a network reads it: float32, or int64."""
        return self.inputs(1, "meta").nbytes

    def inputs(self, count: int, device: str = "cpu") -> Tensor:
        """Return samples of which only shape and highest token count."""
        if self.task == "images":
            return torch.empty(count, *self.shape, device=device)
        return torch.full((count, *self.shape), self.vocabulary - 1, device=device)

    def batch(self, count: int) -> tuple[Tensor, Tensor]:
        """Return inputs, float32 or int64 `[B, ...]`, and their targets, int64 `[B]` or of language `[B, T]`."""
        generator = torch.Generator().manual_seed(1)
        if self.task == "language":
            frequencies = 1 / (torch.arange(self.vocabulary) + 2.7)  # as words have them: Zipf's law, as Mandelbrot wrote it
            tokens = torch.multinomial(frequencies, count * (self.context + 1), replacement=True, generator=generator)
            tokens = tokens.view(count, -1)
            return tokens[:, :-1].contiguous(), tokens[:, 1:].contiguous()
        if self.task == "text":
            x = torch.randint(1, self.vocabulary, (count, *self.shape), generator=generator)  # 0 is padding
        else:
            x = torch.randn(count, *self.shape, generator=generator)
        return x, torch.randint(self.classes, (count,), generator=generator)
