from collections.abc import Mapping

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.study.fake import believing
from torch import Tensor

from torchsid.study.certify.answers import Answers, entangled, of_three
from torchsid.study.positions import flatten


def answers_of(log_beliefs: Tensor, labels: Mapping[str, Tensor], weight: Tensor | None = None, batch_size: int = 3) -> Answers:
    parts = []
    for start in range(0, log_beliefs.shape[1], batch_size):
        batch = slice(start, start + batch_size)
        weights = None if weight is None else weight[batch]
        flat = {name: flatten(log_beliefs[:, batch], each[batch], weights) for name, each in labels.items()}
        parts.append(Answers.of({name: each._replace(sample=each.sample + start) for name, each in flat.items()}))
    return Answers.joined(parts)


ANSWERS = torch.tensor([[0, 0, 1, 1], [1, 0, 1, 2], [0, 0, 2, 2]])
TRUTH = torch.tensor([0, 0, 1, 2])


def test_what_is_kept_is_what_was_believed() -> None:
    found = answers_of(believing(ANSWERS, 4), {"given": torch.tensor([1, 0, 1, 2]), "clean": TRUTH})
    assert found.answers.tolist() == ANSWERS.tolist()
    assert (found.answers.dtype, found.depth, len(found.class_sizes)) == (torch.int16, 3, 4)
    assert found.truth.tolist() == TRUTH.tolist()
    torch.testing.assert_close(found.confidence, torch.full((3, 4), 0.7))
    torch.testing.assert_close(found.in_truth[:, 0], torch.tensor([0.25, 0.7, 0.1, 0.7]))
    torch.testing.assert_close(found.in_given[:, 0], torch.tensor([0.25, 0.1, 0.7, 0.1]))
    assert found.class_beliefs[2, 0].tolist() == pytest.approx([0.4, 0.4, 0.1, 0.1])  # one of two answered with 1
    assert found.class_beliefs[:, 3].count_nonzero() == 0


def test_answers_settle_at_the_last_flip_and_absent_classes_have_no_accuracy() -> None:
    found = answers_of(believing(ANSWERS, 4), {"given": TRUTH})
    assert found.settled.tolist() == [3, 1, 3, 2]
    assert found.mean(found.right).tolist() == [0.75, 0.75, 0.75]
    assert found.class_accuracy[:, :3].tolist() == [[1, 1, 0], [0.5, 1, 1], [1, 0, 1]]
    assert found.class_accuracy[:, 3].isnan().all()


def test_positions_count_by_their_weight_and_belong_to_samples() -> None:
    log_beliefs = believing(ANSWERS, 3).unflatten(1, (2, 2))
    found = answers_of(log_beliefs, {"given": TRUTH.reshape(2, 2)}, torch.tensor([[1.0, 0.0], [2.0, 1.0]]), batch_size=1)
    assert found.sample.tolist() == [0, 1, 1]
    assert found.mean(found.right).tolist() == [0.75, 0.75, 0.5]
    assert found.class_accuracy[2].tolist() == [1, 0, 1]
    assert found.class_beliefs[3, 1].tolist() == pytest.approx([0.15, 0.15, 0.7])


@given(st.integers(1, 6), st.integers(1, 9), st.integers(2, 5), st.integers(1, 9), st.integers(0, 10**6))
def test_counts_agree_and_batches_do_not_matter(depth: int, count: int, num_classes: int, batch_size: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    log_beliefs = torch.randn(depth + 1, count, num_classes, generator=generator).log_softmax(-1)
    truth = torch.randint(num_classes, (count,), generator=generator)
    found, at_once = (answers_of(log_beliefs, {"given": truth}, batch_size=size) for size in (batch_size, count))
    assert torch.equal(found.answers, at_once.answers)
    torch.testing.assert_close(found.class_beliefs, at_once.class_beliefs)
    present = found.class_sizes > 0
    by_class = found.class_accuracy[:, present] @ found.class_sizes[present].double()
    torch.testing.assert_close(by_class, count * found.mean(found.right))
    for place, settled in enumerate(found.settled.tolist()):
        answers = found.answers[:, place]
        assert (answers[settled - 1 :] == answers[-1]).all()
        assert settled == 1 or answers[settled - 2] != answers[-1]
    torch.testing.assert_close(found.class_beliefs[:, present].sum(-1), torch.ones(depth + 1, int(present.sum())).double())


CLEAN = torch.tensor([0, 0, 1, 2, 2])
GIVEN = torch.tensor([1, 2, 0, 0, 2])  # the last is right


def test_every_wrong_label_is_found_or_memorised_or_neither() -> None:
    log_beliefs = believing(torch.tensor([[0, 0, 2, 2, 2], [1, 0, 2, 0, 1]]), 3, sure=0.8)
    shares, beliefs = answers_of(log_beliefs, {"given": GIVEN, "clean": CLEAN}).of_wrong_labels()
    assert [share.tolist() for share in shares.values()] == [[0.75, 0.25], [0, 0.5], [0.25, 0.25], [1, 0]]
    expected = [[1 / 3, (3 * 0.8 + 0.1) / 4, (0.8 + 3 * 0.1) / 4], [1 / 3, 0.1, (2 * 0.8 + 2 * 0.1) / 4], [1 / 3, 0.8, 0.1]]
    for believed, by_hand in zip(beliefs.values(), expected, strict=True):
        assert believed.tolist() == pytest.approx(by_hand)


def test_where_every_label_is_wrong() -> None:
    found = answers_of(believing(CLEAN.unsqueeze(0), 3), {"given": (CLEAN + 1) % 3, "clean": CLEAN})
    shares, _ = found.of_wrong_labels()
    assert shares["found"].tolist() == [1]
    assert shares["right labels: agreed"].isnan().all()


def test_beliefs_are_restricted_to_three_and_renormalised() -> None:
    beliefs = torch.tensor([[0.0, 0.2, 0.0, 0.0], [0.4, 0.3, 0.2, 0.1], [1.0, 0.0, 0.0, 0.0]])
    expected = torch.tensor([[1, 0, 0], [0.5, 1 / 3, 1 / 6], [1 / 3, 1 / 3, 1 / 3]], dtype=torch.float64)
    torch.testing.assert_close(of_three(beliefs, (1, 2, 3)), expected, atol=1e-6, rtol=1e-6)


def test_those_taken_for_each_other_are_chosen_and_without_errors_belief_decides() -> None:
    truth, answers = torch.tensor([0, 1, 2, 3, 4, 4, 1, 3]), torch.tensor([0, 4, 2, 1, 1, 3, 1, 3])
    assert entangled(answers, truth, torch.eye(5)) == (1, 4, 3)
    beliefs = torch.eye(4)
    beliefs[1, 3], beliefs[3, 2] = 0.3, 0.2
    assert entangled(torch.arange(4), torch.arange(4), beliefs) == (1, 3, 2)
    assert entangled(torch.tensor([0]), torch.tensor([1]), torch.eye(2)) is None
