"""Questions about a digit in an image and a number word in a sentence, and what one of the two alone can know of the answer."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from torchsid.errors import DataError

WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
Sense = Literal["image", "text"]


@dataclass(frozen=True)
class Question:
    """An answer y(d, n) to a digit d from 0 to 9 and a number n, all pairs of which are equally frequent."""

    numbers: int
    """n is from 0 to this, without it."""
    class_names: Sequence[str]
    answer: Callable[[Tensor, Tensor], Tensor]
    sentences: Sequence[str]
    """Each says the number and nothing else."""

    def compose(self, digits: Tensor, sentences: int, generator: torch.Generator) -> tuple[Tensor, Tensor, list[str]]:
        """Give images numbers, so that every pair of digit and number is equally frequent.

        Args:
            digits: of the images, int64 `[N]`.
            sentences: an image has, each with another number; of more than there are numbers one with each.
            generator: decides the rest.

        Returns:
            Which images are used, in their order, and their answers, both int64 `[n]`; and the sentences.

        Raises:
            DataError: there are too few images of a digit.
        """
        sentences = min(sentences, self.numbers)
        counts = digits.bincount(minlength=len(WORDS))
        times = int(counts.min()) // self.numbers
        if len(digits) and not times:
            why = f"{self.numbers} numbers need as many images of every digit"
            least = f"of {int(counts.argmin())} there are {int(counts.min())}"
            raise DataError(f"{why}, and {least} in one part: raise data.limit or data.validation, or take mnist")
        shuffled = torch.randperm(len(digits), generator=generator)
        index = torch.cat([shuffled[digits[shuffled] == digit][: times * self.numbers] for digit in range(len(WORDS))])
        index, order = index.sort()
        first = torch.arange(self.numbers).repeat(times * len(WORDS))[order]
        numbers = ((first[:, None] + torch.arange(sentences)) % self.numbers).flatten()
        index = index.repeat_interleave(sentences)
        forms = torch.randint(len(self.sentences), (len(index),), generator=generator).tolist()
        said = [self.sentences[form].format(WORDS[n]) for form, n in zip(forms, numbers.tolist(), strict=True)]
        return index, self.answer(digits[index], numbers), said

    def alone(self) -> dict[Sense, dict[str, float]]:
        """Return accuracy and KL of the best answers to be had from one of the two, read without error: mean max p(y|·), H(y|·)."""
        digits, numbers = torch.arange(len(WORDS))[:, None], torch.arange(self.numbers)
        answers = F.one_hot(self.answer(digits, numbers), len(self.class_names)).double()  # [10, numbers, C]
        given: dict[Sense, Tensor] = {"image": answers.mean(1), "text": answers.mean(0)}
        return {
            sense: {"accuracy": float(p.amax(1).mean()), "kl": float(torch.special.entr(p).sum(1).mean())}
            for sense, p in given.items()
        }


QUESTIONS: Mapping[str, Question] = {
    "synergy": Question(
        numbers=10,
        class_names=tuple("0123456789"),
        answer=lambda digit, number: (digit + number) % 10,
        sentences=("add {} to the digit", "the digit and {} more", "count on by {} from here", "what is {} plus this ?"),
    ),
    "mixed": Question(
        numbers=9,
        class_names=("no", "yes"),
        answer=lambda digit, number: (digit > number).long(),
        sentences=("is it greater than {} ?", "is the digit above {} ?", "does this exceed {} ?", "do you see more than {} ?"),
    ),
}
