"""The words of a certificate."""

from collections.abc import Sequence

import pytest
import torch

from torchsid import LocalObjective
from torchsid.show.certificate.findings import circumstances, findings
from torchsid.study.certify.certificate import Certificate, certificate
from torchsid.study.certify.samples import measure
from torchsid.training import resolve


def certificate_of(right: Sequence[Sequence[float]]) -> Certificate:
    """Of two-class beliefs in the right class, `[L+1][N]`, half the samples of either class."""
    belief = torch.tensor(right, dtype=torch.float64)
    labels = torch.arange(belief.shape[1]) % 2
    log_beliefs = torch.stack([belief.where(labels == 0, 1 - belief), belief.where(labels == 1, 1 - belief)], dim=-1).log()
    return certificate(measure(log_beliefs, labels, LocalObjective()), labels, 2, LocalObjective())


def test_where_everything_holds_no_failure_is_named() -> None:
    found = list(findings(certificate_of([[0.5, 0.5], [0.7, 0.7], [0.8, 0.8]]), ["cat", "dog"]))
    assert found[0] == "Proposition 2: the premise holds at every stage for 100.00\u00a0% of the images"
    assert "KL falls at every one of the 2 stages" in found[2]
    assert len(found) == 5


def test_failures_are_named_by_class_image_and_stage() -> None:
    text = "\n".join(findings(certificate_of([[0.5] * 4, [0.7] * 4, [0.8, 0.6, 0.8, 0.8]]), ["cat", "dog"]))
    assert "the premise holds at every stage for 75.00\u00a0% of the images, and at stage 2, where it holds least often" in text
    assert "KL falls at every stage for 75.00\u00a0% of the images; wherever the premise holds, so does the conclusion" in text
    assert "most often for class 'dog' at stage 2 (1 of 2 images), and by most for image 1 at stage 2 (+0.154 nats)" in text


@pytest.mark.parametrize(
    ("recipe", "override", "words"),
    [
        ("digits-bp", "training.seed=1", "end to end"),
        ("digits-staged", "learner.window=2", "learner.window = 2"),
        ("digits", "learner.teachers=last-epoch", "the epoch before"),
        ("digits", "learner.alpha=[1.0, 0.5, 0.5, 0.5, 0.0]", "α = 0"),
        ("digits", "learner.temperature=2.0", "softened"),
        ("digits", "augment.mixup=0.2", "not augmented"),
    ],
)
def test_what_differs_from_training_is_said(recipe: str, override: str, words: str) -> None:
    (sentence,) = circumstances(resolve(recipe, [override]))
    assert words in sentence


def test_of_alpha_over_epochs_the_last_counts() -> None:
    (sentence,) = circumstances(resolve("digits", ["learner.alpha=linear:1:0.5", "learner.alpha_over=epochs"]))
    assert "that of the last epoch" in sentence


def test_a_plain_run_needs_no_remark() -> None:
    assert list(circumstances(resolve("digits"))) == []
