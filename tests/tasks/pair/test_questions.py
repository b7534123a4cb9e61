"""What image and sentence say together, and what one of them alone can know, against counting the samples."""

import math
from collections import Counter

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from torchsid.errors import DataError
from torchsid.tasks.pair.questions import QUESTIONS, WORDS

SEEDS = st.integers(0, 2**31)


@given(st.sampled_from(sorted(QUESTIONS)), st.integers(1, 12), st.integers(0, 30), SEEDS)
def test_every_pair_is_equally_frequent_and_an_image_has_each_number_once(name: str, sentences: int, more: int, seed: int) -> None:
    question, generator = QUESTIONS[name], torch.Generator().manual_seed(seed)
    few = torch.arange(10).repeat_interleave(question.numbers + 5)
    digits = torch.cat([few, torch.randint(10, (more,), generator=generator)])[torch.randperm(len(few) + more, generator=generator)]
    index, answers, said = question.compose(digits, sentences, generator)
    numbers = [next(n for n, word in enumerate(WORDS) if word in text.split()) for text in said]
    counts = Counter(zip(digits[index].tolist(), numbers, strict=True))
    assert len(counts) == 10 * question.numbers
    assert set(counts.values()) == {min(sentences, question.numbers)}
    assert Counter(Counter(zip(index.tolist(), numbers, strict=True)).values()) == {1: len(said)}
    for digit, number, answer in zip(digits[index].tolist(), numbers, answers.tolist(), strict=True):
        wanted = (digit + number) % 10 if name == "synergy" else digit > number
        assert question.class_names[answer] == (str(wanted) if name == "synergy" else "yes" if wanted else "no")


@pytest.mark.parametrize(("name", "image", "text"), [("synergy", 0.1, 0.1), ("mixed", 7 / 9, 6.5 / 9)])
def test_what_one_alone_can_know_is_what_a_table_of_the_samples_knows(name: str, image: float, text: float) -> None:
    question, alone = QUESTIONS[name], QUESTIONS[name].alone()
    assert alone["image"]["accuracy"] == pytest.approx(image)
    assert alone["text"]["accuracy"] == pytest.approx(text)
    digits = torch.arange(10).repeat_interleave(90)
    index, answers, said = question.compose(digits, 1, torch.Generator().manual_seed(0))
    word = torch.tensor([next(n for n, word in enumerate(WORDS) if word in text.split()) for text in said])
    for sense, known in (("image", digits[index]), ("text", word)):
        table = torch.zeros(10, len(question.class_names), dtype=torch.float64)
        table.index_put_((known, answers), torch.ones(len(known), dtype=torch.float64), accumulate=True)
        right, p = table.amax(1).sum() / table.sum(), table / table.sum(1, keepdim=True).clamp(min=1)
        assert float(right) == pytest.approx(alone[sense]["accuracy"])  # type: ignore[index]
        nats = -(table * p.clamp(min=1e-300).log()).sum() / table.sum()
        assert float(nats) == pytest.approx(alone[sense]["kl"])  # type: ignore[index]
    if name == "synergy":
        assert alone["text"]["kl"] == pytest.approx(math.log(10))


def test_too_few_images_of_a_digit_are_named() -> None:
    digits = torch.arange(10).repeat(10)[1:]
    with pytest.raises(DataError, match="10 numbers need as many images of every digit, and of 0 there are 9"):
        QUESTIONS["synergy"].compose(digits, 1, torch.Generator())
    index, answers, said = QUESTIONS["synergy"].compose(digits[:0], 1, torch.Generator())
    assert len(index) == len(answers) == len(said) == 0


@pytest.mark.parametrize(("name", "learns"), [("synergy", False), ("mixed", True)])
def test_logits_that_add_what_each_sense_says_learn_nothing_of_a_sum(name: str, learns: bool) -> None:
    """The cross-entropy is convex in a(d) + b(n): where its gradient at 0 is 0, the uniform belief is its minimum."""
    question = QUESTIONS[name]
    digit, number = torch.cartesian_prod(torch.arange(10), torch.arange(question.numbers)).unbind(1)
    a, b = (torch.zeros(10, len(question.class_names), dtype=torch.float64, requires_grad=True) for _ in range(2))
    loss = F.cross_entropy(a[digit] + b[number], question.answer(digit, number))
    gradients = torch.autograd.grad(loss, (a, b))
    assert [bool((gradient.abs() > 1e-15).any()) for gradient in gradients] == [learns, learns]
