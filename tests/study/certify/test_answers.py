from collections.abc import Mapping

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.study.helpers import believing
from torch import Tensor

from torchsid.study.certify.answers import Answers
from torchsid.study.certify.wrong_labels import wrong_labels
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
    assert (found.answers.dtype, found.num_classes) == (torch.int16, 4)
    assert found.truth.tolist() == TRUTH.tolist()
    torch.testing.assert_close(found.confidence, torch.full((3, 4), 0.7))
    torch.testing.assert_close(found.belief_in["clean"][:, 0], torch.tensor([0.25, 0.7, 0.1, 0.7]))
    torch.testing.assert_close(found.belief_in["given"][:, 0], torch.tensor([0.25, 0.1, 0.7, 0.1]))
    assert found.class_beliefs[2, 0].tolist() == pytest.approx([0.4, 0.4, 0.1, 0.1])  # one of two answered with 1
    assert found.class_beliefs[:, 3].count_nonzero() == 0


def test_answers_settle_at_the_last_flip_and_absent_classes_have_no_accuracy() -> None:
    found = answers_of(believing(ANSWERS, 4), {"given": TRUTH})
    assert found.settled.tolist() == [3, 1, 3, 2]
    assert found.accuracy.tolist() == [0.75, 0.75, 0.75]
    assert found.class_accuracy[:, :3].tolist() == [[1, 1, 0], [0.5, 1, 1], [1, 0, 1]]
    assert found.class_accuracy[:, 3].isnan().all()


def test_positions_count_by_their_weight_and_belong_to_samples() -> None:
    log_beliefs = believing(ANSWERS, 3).unflatten(1, (2, 2))
    found = answers_of(log_beliefs, {"given": TRUTH.reshape(2, 2)}, torch.tensor([[1.0, 0.0], [2.0, 1.0]]), batch_size=1)
    assert found.sample.tolist() == [0, 1, 1]
    assert found.accuracy.tolist() == [0.75, 0.75, 0.5]
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
    torch.testing.assert_close(by_class, count * found.accuracy)
    for place, settled in enumerate(found.settled.tolist()):
        answers = found.answers[:, place]
        assert (answers[settled - 1 :] == answers[-1]).all()
        assert settled == 1 or answers[settled - 2] != answers[-1]
    torch.testing.assert_close(found.class_beliefs[:, present].sum(-1), torch.ones(depth + 1, int(present.sum())).double())


CLEAN = torch.tensor([0, 0, 1, 2, 2])
GIVEN = torch.tensor([1, 2, 0, 0, 2])  # the last is right


def test_every_wrong_label_is_found_or_memorised_or_neither() -> None:
    log_beliefs = believing(torch.tensor([[0, 0, 2, 2, 2], [1, 0, 2, 0, 1]]), 3, sure=0.8)
    found = wrong_labels(answers_of(log_beliefs, {"given": GIVEN, "clean": CLEAN}))
    assert found is not None
    assert found.wrong.tolist() == [True] * 4 + [False]
    assert found.memorised_by.tolist() == [True, False, False, True, False]
    assert found.found.tolist() == [0.75, 0.25]
    assert found.memorised.tolist() == [0, 0.5]
    assert found.other.tolist() == [0.25, 0.25]
    assert found.agreed.tolist() == [1, 0]
    torch.testing.assert_close(found.in_truth.float(), torch.tensor([1 / 3, (3 * 0.8 + 0.1) / 4, (0.8 + 3 * 0.1) / 4]))
    torch.testing.assert_close(found.in_label.float(), torch.tensor([1 / 3, 0.1, (2 * 0.8 + 2 * 0.1) / 4]))
    torch.testing.assert_close(found.in_right.float(), torch.tensor([1 / 3, 0.8, 0.1]))


def test_where_none_or_every_label_is_wrong() -> None:
    log_beliefs = believing(CLEAN.unsqueeze(0), 3)
    assert wrong_labels(answers_of(log_beliefs, {"given": CLEAN})) is None
    found = wrong_labels(answers_of(log_beliefs, {"given": (CLEAN + 1) % 3, "clean": CLEAN}))
    assert found is not None
    assert found.found.tolist() == [1]
    assert found.agreed.isnan().all()
