import pytest
import torch
from tests.study.fake import believing

from torchsid.errors import NonFiniteError
from torchsid.study.figures import cards_of, of_each_kind
from torchsid.study.positions import flatten, settled, spread
from torchsid.tasks.domain import Samples


def test_a_classifier_has_one_position_a_sample() -> None:
    log_beliefs, target = torch.randn(3, 5, 4).log_softmax(-1), torch.randint(4, (5,))
    flat = flatten(log_beliefs, target)
    assert torch.equal(flat.log_beliefs, log_beliefs)
    assert torch.equal(flat.target, target)
    assert flat.weight.tolist() == [1.0] * 5
    assert flat.sample.tolist() == [0, 1, 2, 3, 4]
    assert not flat.position.any()


def test_masked_positions_count_nowhere_and_the_others_know_where_they_are() -> None:
    log_beliefs, target = torch.randn(3, 2, 3, 4).log_softmax(-1), torch.randint(4, (2, 3))
    weight = torch.tensor([[1.0, 0.0, 0.5], [0.0, 0.0, 2.0]])
    flat = flatten(log_beliefs, target, weight)
    assert flat.weight.tolist() == [1.0, 0.5, 2.0]
    assert list(zip(flat.sample.tolist(), flat.position.tolist(), strict=True)) == [(0, 0), (0, 2), (1, 2)]
    assert torch.equal(flat.log_beliefs[:, 2], log_beliefs[:, 1, 2])
    assert torch.equal(flat.target, target[[0, 0, 1], [0, 2, 2]])


def test_an_outcome_that_is_ignored_counts_nowhere() -> None:
    log_beliefs, target = torch.randn(3, 2, 2, 4).log_softmax(-1), torch.tensor([[3, -100], [-100, 0]])
    flat = flatten(log_beliefs, target)
    assert (flat.target.tolist(), flat.position.tolist()) == ([3, 0], [0, 1])
    assert len(flatten(log_beliefs, target, torch.tensor([[0.0, 1.0], [1.0, 1.0]])).target) == 1


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_a_network_that_has_diverged_is_refused_unless_only_what_counts_nowhere_shows_it(value: float) -> None:
    log_beliefs = torch.randn(3, 2, 3, 4).log_softmax(-1)
    log_beliefs[2, 0, 1, 3] = value
    target = torch.randint(4, (2, 3))
    with pytest.raises(NonFiniteError, match=r"the belief after stage 2 holds NaN or infinity: .*optimizer\.clip_gradient"):
        flatten(log_beliefs, target)
    assert len(flatten(log_beliefs, target, torch.tensor([[1.0, 0.0, 1.0]] * 2)).target) == 4


def test_rows_stay_rows() -> None:
    rows = torch.rand(2, 3, 4).softmax(-1)
    flat = flatten(torch.randn(2, 2, 3, 4).log_softmax(-1), rows)
    assert torch.equal(flat.target, rows.reshape(6, 4))
    assert torch.equal(flat.outcome, rows.argmax(-1).flatten())


def test_cards_are_shared_out_over_the_kinds() -> None:
    answers = torch.tensor([[0] * 10, [0] * 8 + [1, 1], [0] * 7 + [2, 1, 1]])  # seven at once, one wrong, two late
    truth = torch.tensor([0] * 8 + [1, 1])
    flat = flatten(believing(answers, 3), truth)
    assert settled(answers).tolist() == [1] * 7 + [3, 2, 2]
    lines = of_each_kind(answers, flat.outcome, ["a", "b", "c"], 6)
    assert [words[0] for words in lines.values()] == ["decided at once"] * 2 + ["changed its mind"] * 2 + ["wrong"]
    assert list(lines) == [0, 3, 8, 9, 7]


def test_cards_show_what_was_believed_and_name_positions_where_samples_have_several() -> None:
    flat = flatten(torch.randn(3, 2, 2, 3).log_softmax(-1), torch.randint(3, (2, 2))).take([1, 2])
    samples = Samples(torch.arange(2), torch.randint(3, (2, 2)))
    cards = cards_of(flat, samples, lambda sample: f"<p>{int(sample)}</p>", ["a", "b", "c"], [["one"], ["two"]])
    assert [card.sample for card in cards] == ["<p>0</p>", "<p>1</p>"]
    assert [card.lines for card in cards] == [["one", "position 1"], ["two", "position 0"]]


def test_what_is_shown_is_evenly_spread() -> None:
    assert spread(torch.ones(10, dtype=torch.bool), 4) == [0, 2, 5, 7]
    assert spread(torch.arange(10) > 7, 4) == [8, 9]
