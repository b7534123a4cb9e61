import torch
from tests.study.helpers import believing

from torchsid.study.cards import mixed_cards, settled_stage
from torchsid.study.positions import flatten, outcomes


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


def test_rows_stay_rows() -> None:
    rows = torch.rand(2, 3, 4).softmax(-1)
    flat = flatten(torch.randn(2, 2, 3, 4).log_softmax(-1), rows)
    assert torch.equal(flat.target, rows.reshape(6, 4))
    assert torch.equal(outcomes(flat.target), rows.argmax(-1).flatten())
    assert torch.equal(outcomes(torch.tensor([2, 1])), torch.tensor([2, 1]))


def test_cards_are_shared_out_over_the_kinds() -> None:
    answers = torch.tensor([[0] * 10, [0] * 8 + [1, 1], [0] * 7 + [2, 1, 1]])  # seven at once, one wrong, two late
    truth = torch.tensor([0] * 8 + [1, 1])
    flat = flatten(believing(answers, 3), truth)
    assert settled_stage(flat.log_beliefs).tolist() == [1] * 7 + [3, 2, 2]
    cards = mixed_cards(flat, torch.arange(10), lambda sample: f"<p>{int(sample)}</p>", ["a", "b", "c"], 5)
    assert [card.title for card in cards] == ["decided at once"] * 2 + ["changed its mind"] * 2 + ["wrong"]
    assert [card.sample for card in cards] == ["<p>0</p>", "<p>1</p>", "<p>8</p>", "<p>9</p>", "<p>7</p>"]


def test_a_position_is_named_where_samples_have_several() -> None:
    flat = flatten(torch.randn(3, 2, 2, 3).log_softmax(-1), torch.randint(3, (2, 2)))
    cards = mixed_cards(flat, torch.zeros(2, 2), lambda sample: "", ["a", "b", "c"], 4)
    assert {line for card in cards for line in card.lines if "position" in line} == {"position 0", "position 1"}
