import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score
from tests.show.parsed import parsed

from torchsid.show.tables import table
from torchsid.study import audit as audit_module
from torchsid.study.audit import Verdicts, audit, audit_page, detection, disputes, judge, rankings
from torchsid.study.figures import card
from torchsid.tasks import Samples
from torchsid.training import load_network, resolve, train

PRIOR = [1 / 3, 1 / 3, 1 / 3]


def verdicts_of(*samples: list[list[float]], labels: list[int]) -> Verdicts:
    """Verdicts on samples, each given by its beliefs after the stages."""
    beliefs = torch.tensor([[PRIOR, *stages] for stages in samples], dtype=torch.float64)  # [N, L+1, C]
    return judge(beliefs.transpose(0, 1).log(), torch.tensor(labels))


def test_a_case_done_by_hand() -> None:
    found = verdicts_of(
        [[0.7, 0.2, 0.1], [0.8, 0.1, 0.1]],  # the label is believed at once
        [[0.1, 0.6, 0.3], [0.5, 0.3, 0.2]],  # the label is believed at last
        [[0.1, 0.6, 0.3], [0.0, 1.0, 0.0]],  # never, and in the end not at all
        labels=[0, 0, 0],
    )
    assert verdicts_of([[0.6, 0.2, 0.2], [0.2, 0.6, 0.2], [0.6, 0.2, 0.2]], labels=[0]).agrees_from.tolist() == [3]  # lost again
    assert found.score.tolist() == pytest.approx([(0.5 + 0.7) / 2, (-0.5 + 0.2) / 2, (-0.5 - 1.0) / 2])
    assert found.agrees_from.tolist() == [1, 2, 3]
    assert found.suggested.tolist() == [0, 1, 1]
    scores = rankings(found, torch.tensor([0, 0, 0]))
    assert scores["last margin"].tolist() == pytest.approx([0.7, 0.2, -1.0])
    assert scores["last self-confidence"].tolist() == pytest.approx([0.8, 0.5, 0.0])


def test_what_the_last_stage_cannot_tell_apart_the_earlier_ones_can() -> None:
    """Both labels end with the same belief; the memorised one was believed in last."""
    found = verdicts_of([[0.9, 0.05, 0.05], [0.98, 0.01, 0.01]], [[0.1, 0.8, 0.1], [0.98, 0.01, 0.01]], labels=[0, 0])
    scores = rankings(found, torch.tensor([0, 0]))
    wrong = torch.tensor([False, True])
    found_by = {name: each["auroc"] for name, each in detection(scores, wrong).items()}
    assert found_by["margin over stages"] == 1.0
    assert found_by["last margin"] == found_by["last self-confidence"] == 0.5


@given(st.lists(st.tuples(st.integers(-3, 3), st.booleans()), min_size=2, max_size=40))
def test_auroc_is_the_share_of_pairs_in_order(samples: list[tuple[int, bool]]) -> None:
    score = torch.tensor([float(value) for value, _ in samples])
    wrong = torch.tensor([flag for _, flag in samples])
    if not wrong.any() or wrong.all():
        with pytest.raises(ValueError, match="AUROC"):
            detection({"": score}, wrong)
        return
    lows, highs = score[wrong].tolist(), score[~wrong].tolist()
    pairs = [(low < high) + 0.5 * (low == high) for low in lows for high in highs]
    found = detection({"": score}, wrong)[""]["auroc"]
    assert found == pytest.approx(sum(pairs) / len(pairs))
    assert found == pytest.approx(roc_auc_score(wrong.numpy(), -score.numpy()))


def test_precision_and_recall_by_hand() -> None:
    score = torch.tensor([0.1, 0.2, 0.3, 0.4, 0.5, 0.6])
    wrong = torch.tensor([True, False, True, False, False, True])
    (found,) = detection({"mine": score}, wrong).values()
    assert found["precision_at_k"] == pytest.approx(2 / 3)
    assert found["recall_at_2k"] == pytest.approx(1.0)
    (half,) = detection({"mine": score}, torch.tensor([True, False, False, False, False, True])).values()
    assert half["precision_at_k"] == half["recall_at_2k"] == 0.5


def test_disputes_by_hand() -> None:
    found = verdicts_of(
        [[0.1, 0.8, 0.1]],  # wrong, found, corrected
        [[0.1, 0.8, 0.1]],  # wrong, found, not corrected
        [[0.8, 0.1, 0.1]],  # wrong, not found
        [[0.1, 0.1, 0.8]],  # right, accused
        [[0.8, 0.1, 0.1]],  # right
        labels=[0, 0, 0, 0, 0],
    )
    labels, clean = torch.tensor([0, 0, 0, 0, 0]), torch.tensor([1, 2, 1, 0, 0])
    expected = {"disputed": 3, "wrong": 3, "precision": 2 / 3, "recall": 2 / 3, "corrected": 0.5}
    assert disputes(found, labels, clean) == expected
    assert disputes(found, labels, None) == {"disputed": 3}
    nothing = disputes(verdicts_of([[0.8, 0.1, 0.1]], labels=[0]), torch.tensor([0]), torch.tensor([0]))
    assert nothing == {"disputed": 0, "wrong": 0, "precision": None, "recall": None, "corrected": None}


def test_cleanlab_is_asked_where_it_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    rank = SimpleNamespace(get_label_quality_scores=lambda labels, probabilities, method: probabilities[:, 1])
    monkeypatch.setitem(sys.modules, "cleanlab", ModuleType("cleanlab"))
    monkeypatch.setitem(sys.modules, "cleanlab.rank", rank)  # type: ignore[arg-type]
    log_beliefs, labels = torch.randn(3, 20, 4).log_softmax(-1), torch.randint(4, (20,))
    scores = rankings(judge(log_beliefs, labels), labels)
    for method in ("normalized_margin", "self_confidence"):
        torch.testing.assert_close(scores[f"cleanlab {method}"].float(), log_beliefs[-1].exp()[:, 1])


def test_the_size_of_a_chunk_does_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    images = torch.randint(0, 256, (50, 1, 2, 2), dtype=torch.uint8)
    split = Samples(images, torch.randint(3, (50,)))

    def network(x: torch.Tensor) -> torch.Tensor:
        return torch.stack([x.flatten(1)[:, :3] * stage for stage in range(4)]).log_softmax(-1)

    predictor = SimpleNamespace(log_beliefs=network)
    whole = audit(predictor, split, prepare=lambda x: x / 255)
    monkeypatch.setattr(audit_module, "CHUNK", 7)
    parts = audit(predictor, split, prepare=lambda x: x / 255)
    for a, b in zip(whole, parts, strict=True):
        torch.testing.assert_close(a, b)


def test_the_last_belief_can_judge_alone() -> None:
    log_beliefs, labels = torch.randn(4, 20, 3).log_softmax(-1), torch.randint(3, (20,))
    split = Samples(torch.arange(20, dtype=torch.uint8).reshape(20, 1, 1, 1), labels)
    predictor = SimpleNamespace(log_beliefs=lambda x: log_beliefs[:, x.flatten().long()])
    alone = audit(predictor, split, prepare=lambda x: x, last_alone=True)
    torch.testing.assert_close(alone.score, rankings(judge(log_beliefs, labels), labels)["last margin"])
    assert alone.suggested.tolist() == log_beliefs[-1].argmax(-1).tolist()
    assert (audit(predictor, split, prepare=lambda x: x).score != alone.score).any()


def test_only_positions_that_count_are_judged() -> None:
    log_beliefs, target = torch.randn(3, 2, 3, 4).log_softmax(-1), torch.randint(4, (2, 3))
    weight = torch.tensor([[1.0, 0.0, 1.0], [0.0, 0.0, 1.0]])
    predictor = SimpleNamespace(log_beliefs=lambda x: log_beliefs[:, x.long()])
    found = audit(predictor, Samples(torch.arange(2), target, weight), prepare=lambda x: x)
    expected = judge(log_beliefs[:, weight > 0], target[weight > 0])
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b)


def test_the_page_shows_what_was_found_and_the_samples() -> None:
    cards = [card("<p>7</p>", torch.tensor([PRIOR, [0.1, 0.8, 0.1]]).log(), ["<cat>", "dog", "owl"], 0, "<cat> → dog", ["row 7"])]
    page = parsed(audit_page(cards, [table(["a", "b"], [["disputed", "1"]])], title="T", subtitle="", command="x").html())
    assert page.sections == ["found", "samples", "repeat"]
    assert "<cat> → dog" in page.words


def test_injected_noise_is_found(tmp_path: Path) -> None:
    noise = ["data.noise.kind=symmetric", "data.noise.rate=0.3"]
    train(resolve("digits", ["training.epochs=8", "model.depth=3", *noise]), tmp_path / "run", command="test")
    network = load_network(tmp_path / "run", "last")
    samples = network.task.load(0).train
    assert samples.clean_target is not None
    found = audit(network.learner, samples, prepare=network.prepare)
    wrong = samples.target != samples.clean_target
    measured = detection(rankings(found, samples.target), wrong)["margin over stages"]
    assert measured["auroc"] > 0.9
    assert measured["precision_at_k"] > 0.7  # by chance 0.3
    assert (disputes(found, samples.target, samples.clean_target)["recall"] or 0.0) > 0.7
