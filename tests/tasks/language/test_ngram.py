"""N-grams against their definition, written out."""

from math import log
from pathlib import Path

import numpy as np
import pytest

from torchsid.tasks.language import Language
from torchsid.tasks.language.ngram import n_gram


def written_out(train: list[int], text: list[int], place: int, order: int, size: int) -> float:
    if order == 0:
        return 1 / size
    lower = written_out(train, text, place, order - 1, size)
    begin = place - order + 1
    if begin < 0:
        return lower
    before = text[begin:place]
    followers = [train[i + order - 1] for i in range(len(train) - order + 1) if train[i : i + order - 1] == before]
    if not followers:
        return lower
    different = len(set(followers))
    return (followers.count(text[place]) + different * lower) / (len(followers) + different)


def test_the_loss_is_that_of_the_definition_and_the_order_that_of_the_first_part() -> None:
    draw = np.random.default_rng(0)
    train, first, second = (np.cumsum(draw.integers(0, 2, count)) % 5 for count in (300, 80, 60))
    order, losses = n_gram(train, {"validation": first, "test": second}, 6)
    lists = {"validation": first.tolist(), "test": second.tolist()}

    def loss(part: str, order: int) -> float:
        text = lists[part]
        found = [-log(written_out(train.tolist(), text, place, order, 6)) for place in range(1, len(text))]
        return sum(found) / len(found)

    assert losses == {part: pytest.approx(loss(part, order)) for part in lists}
    assert loss("validation", order) < min(loss("validation", order - 1), loss("validation", order + 1))


def test_tokens_that_never_occur_have_a_probability() -> None:
    order, losses = n_gram(np.zeros(4, np.int64), {"test": np.array([0, 1, 1])}, 3)
    assert order == 1
    assert losses["test"] == pytest.approx(-log((1 / 3) / (4 + 1)))


@pytest.mark.parametrize("validation", [0.1, 0.0])
def test_the_floor_is_of_the_parts_that_are_held_out(tmp_path: Path, validation: float) -> None:
    file = tmp_path / "text.txt"
    file.write_text("ab" * 500)
    task = Language(path=str(file), cache=str(tmp_path / "cache"), context=8, validation=validation, test=0.1)
    floor = task.floor(task.load(0))
    assert floor.scores.keys() == ({"validation", "test"} if validation else {"test"})
    assert floor.scores["test"]["kl"] < 0.01
    assert floor.missed("test", {"kl": 1.0, "accuracy": 0.0}) == [
        f"KL 1.0000 on test is worse than the {floor.scores['test']['kl']:.4f} of the {floor.name}"
    ]
    assert not floor.missed("test", {"kl": 0.0})
