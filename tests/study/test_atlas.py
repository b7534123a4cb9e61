from collections.abc import Mapping

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from torchsid.study.atlas import Atlas, AtlasMaker


def believing(answers: Tensor, num_classes: int, sure: float = 0.7) -> Tensor:
    """Log-beliefs `[L+1, N, C]` of stages that give these answers `[L, N]`, after a uniform prior."""
    rest = (1 - sure) / (num_classes - 1)
    stages = torch.full((*answers.shape, num_classes), rest).scatter(-1, answers.unsqueeze(-1), sure)
    return torch.cat([torch.full_like(stages[:1], 1 / num_classes), stages]).log()


def atlas_of(log_beliefs: Tensor, labels: Mapping[str, Tensor], batch_size: int = 3) -> Atlas:
    maker = AtlasMaker(labels)
    for start in range(0, log_beliefs.shape[1], batch_size):
        batch = slice(start, start + batch_size)
        maker.add(batch, log_beliefs[:, batch])
    return maker.atlas()


ANSWERS = torch.tensor([[0, 0, 1, 1], [1, 0, 1, 2], [0, 0, 2, 2]])
TRUTH = torch.tensor([0, 0, 1, 2])


def test_what_is_kept_is_what_was_believed() -> None:
    found = atlas_of(believing(ANSWERS, 4), {"given": torch.tensor([1, 0, 1, 2]), "clean": TRUTH})
    assert found.answers.tolist() == ANSWERS.tolist()
    assert (found.answers.dtype, found.num_classes) == (torch.int16, 4)
    assert found.truth.tolist() == TRUTH.tolist()
    torch.testing.assert_close(found.confidence, torch.full((3, 4), 0.7))
    torch.testing.assert_close(found.belief_in["clean"][:, 0], torch.tensor([0.25, 0.7, 0.1, 0.7]))
    torch.testing.assert_close(found.belief_in["given"][:, 0], torch.tensor([0.25, 0.1, 0.7, 0.1]))
    assert found.class_beliefs[2, 0].tolist() == pytest.approx([0.4, 0.4, 0.1, 0.1])  # one of two answered with 1
    assert found.class_beliefs[:, 3].count_nonzero() == 0


def test_answers_settle_at_the_last_flip() -> None:
    found = atlas_of(believing(ANSWERS, 4), {"held-out": TRUTH})
    assert found.settled.tolist() == [3, 1, 3, 2]
    assert found.settling.tolist() == [[1, 1, 1], [0, 0, 1]]
    assert found.accuracy.tolist() == [0.75, 0.75, 0.75]


def test_accuracy_of_a_class_without_images_is_not_a_number() -> None:
    found = atlas_of(believing(ANSWERS, 4), {"held-out": TRUTH}).class_accuracy
    assert found[:, :3].tolist() == [[1, 1, 0], [0.5, 1, 1], [1, 0, 1]]
    assert found[:, 3].isnan().all()


@given(st.integers(1, 6), st.integers(1, 9), st.integers(2, 5), st.integers(1, 9), st.integers(0, 10**6))
def test_counts_agree_and_batches_do_not_matter(depth: int, count: int, num_classes: int, batch_size: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    log_beliefs = torch.randn(depth + 1, count, num_classes, generator=generator).log_softmax(-1)
    truth = torch.randint(num_classes, (count,), generator=generator)
    found, at_once = (atlas_of(log_beliefs, {"held-out": truth}, size) for size in (batch_size, count))
    assert torch.equal(found.answers, at_once.answers)
    torch.testing.assert_close(found.class_beliefs, at_once.class_beliefs)
    assert found.settling.sum() == count
    assert found.settling[0].sum() == found.right[-1].sum()
    present = found.class_sizes > 0
    by_class = found.class_accuracy[:, present] @ found.class_sizes[present].double()
    torch.testing.assert_close(by_class, count * found.accuracy)
    for place, settled in enumerate(found.settled.tolist()):
        answers = found.answers[:, place]
        assert (answers[settled - 1 :] == answers[-1]).all()
        assert settled == 1 or answers[settled - 2] != answers[-1]
    torch.testing.assert_close(found.class_beliefs[:, present].sum(-1), torch.ones(depth + 1, int(present.sum())).double())
