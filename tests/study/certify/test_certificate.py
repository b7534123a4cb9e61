import json
from collections.abc import Mapping
from dataclasses import asdict
from itertools import combinations

import pytest
import torch
from torch import Tensor, nn

from torchsid import SID, Backprop, LocalObjective, shared_cascade
from torchsid.errors import TargetError
from torchsid.learners.deep_supervision import DeepSupervision
from torchsid.study.certify.certificate import Certificate, caveats, certificate, certify, measure, scope
from torchsid.study.positions import Flat
from torchsid.tasks import Samples

LABELS = torch.tensor([0, 0, 1, 2])


def certificate_of(probabilities: list[list[list[float]]], labels: Tensor = LABELS, **settings: object) -> Certificate:
    objective = LocalObjective(**settings)  # type: ignore[arg-type]
    log_beliefs = torch.tensor(probabilities, dtype=torch.float64).log()
    return certificate(measure(log_beliefs, labels, objective), log_beliefs.shape[-1], objective)


def test_shares_failures_and_the_worst_sample() -> None:
    third = [1 / 3, 1 / 3, 1 / 3]
    found = certificate_of(
        [
            [third] * 4,
            [[0.6, 0.2, 0.2], [0.2, 0.6, 0.2], [0.2, 0.6, 0.2], [0.4, 0.5, 0.1]],  # towards, away, towards, further away
            [[0.7, 0.2, 0.1], [0.2, 0.6, 0.2], [0.3, 0.5, 0.2], [0.3, 0.3, 0.4]],  # towards, nothing, away, towards
        ]
    )
    first, second = found.stages
    assert (found.n, found.class_sizes) == (4, (2, 1, 1))
    assert (first.descent, second.descent, found.descent_everywhere) == (0.5, 0.75, 0.25)
    assert first.failures.samples == (3, 1)  # the largest rise first
    assert first.failures.rises == pytest.approx([torch.log(torch.tensor(third[0] / p)).item() for p in (0.1, 0.2)])
    assert first.failures.by_class == (1, 0, 1)
    assert second.failures.by_class == (0, 1, 0)
    assert first.kl.worst == pytest.approx(-torch.log(torch.tensor(0.1)).item())
    assert found.prior_kl.mean == found.prior_kl.worst == pytest.approx(torch.log(torch.tensor(3.0)).item())
    assert (first.mean_descends, second.mean_descends) == (False, True)
    assert found.contradictions == 0
    assert json.loads(json.dumps(asdict(found)))["stages"][0]["failures"]["samples"] == [3, 1]


def test_an_ideal_cascade_holds_everywhere() -> None:
    objective = LocalObjective(alpha=[0.5, 0.2], direction="reverse", label_smoothing=0.1)
    log_target = objective.log_target(LABELS, 3, dtype=torch.float64)
    log_beliefs = [torch.full((4, 3), 1 / 3, dtype=torch.float64).log()]
    for alpha in objective.alphas(2):
        log_beliefs.append(objective.minimiser(log_target, log_beliefs[-1], alpha))
    found = certificate(measure(torch.stack(log_beliefs), LABELS, objective), 3, objective)
    assert found.premise_everywhere == found.descent_everywhere == 1
    for stage, left in zip(found.stages, (0.5, 0.4), strict=True):
        assert (stage.premise, stage.conclusion, stage.mean_descends) == (1, 1, True)
        assert stage.failures.samples == ()
        assert (stage.epsilon.worst, stage.distance.worst) == pytest.approx((0, 0), abs=1e-12)
        assert stage.residual.mean == stage.residual.worst == pytest.approx(left) == stage.ideal_residual
        assert stage.bound.mean == pytest.approx(found.prior_kl.mean)
        assert stage.slack.worst > 0


def test_more_loss_than_doing_nothing_is_the_local_error() -> None:
    found = certificate_of([[[0.5, 0.5]], [[0.1, 0.9]]], torch.tensor([0]), alpha=1.0)
    (stage,) = found.stages
    rise = torch.log(torch.tensor(5.0)).item()
    assert (stage.premise, stage.epsilon.mean) == (0, pytest.approx(rise))
    assert stage.bound.mean == pytest.approx(stage.kl.mean)  # with α = 1 the bound is the error
    assert stage.slack.worst == pytest.approx(0, abs=1e-12)


def network(x: Tensor) -> Tensor:
    return torch.stack([torch.zeros(len(x), 4), x.flatten(1), 2 * x.flatten(1)]).log_softmax(-1)


def test_samples_are_read_in_batches_once_for_all_labels() -> None:
    noisy, clean = torch.randint(4, (2, 11))
    samples, calls = Samples(torch.randint(256, (11, 1, 2, 2), dtype=torch.uint8), noisy, clean_target=clean), []

    def counting(x: Tensor) -> Tensor:
        calls.append(len(x))
        return network(x)

    def run(batch_size: int) -> dict[str, Certificate]:
        return certify(counting, samples, LocalObjective(), prepare=lambda x: x / 255, batch_size=batch_size)

    in_batches, at_once = run(4)["clean"], run(500)["clean"]
    assert in_batches.stages[-1].kl.mean == pytest.approx(at_once.stages[-1].kl.mean)
    assert in_batches.stages[-1].failures.samples == at_once.stages[-1].failures.samples
    assert calls == [4, 4, 3, 11]
    found = run(11)
    assert list(found) == ["given", "clean"]
    assert found["given"].class_sizes == tuple(noisy.bincount(minlength=4).tolist())
    seen: list[Mapping[str, Flat]] = []
    certify(network, samples, LocalObjective(), prepare=lambda x: x, batch_size=6, onlooker=seen.append)
    assert [flat["given"].sample.tolist() for flat in seen] == [list(range(6)), list(range(6, 11))]
    assert [flat["clean"].target.tolist() for flat in seen] == [clean[:6].tolist(), clean[6:].tolist()]
    with pytest.raises(TargetError):
        certify(network, Samples(samples.inputs, torch.full((11,), 4)), LocalObjective(), prepare=lambda x: x / 255)


def test_positions_count_by_their_weight() -> None:
    """A weight of 2 is as good as two samples, a weight of 0 as good as none."""
    log_beliefs, target = torch.randn(3, 2, 3, 4).log_softmax(-1), torch.randint(4, (2, 3))
    weight = torch.tensor([[1.0, 0.0, 2.0], [1.0, 1.0, 0.0]])
    (found,) = certify(
        lambda x: log_beliefs[:, x.long()], Samples(torch.arange(2), target, weight), LocalObjective(), prepare=lambda x: x
    ).values()
    places = [(0, 0), (0, 2), (0, 2), (1, 0), (1, 1)]
    flat = torch.stack([log_beliefs[:, sample, place] for sample, place in places], dim=1)
    labels = torch.stack([target[place] for place in places])
    expected = certificate(measure(flat, labels, LocalObjective()), 4, LocalObjective())
    assert found.n == 4
    for stage, by_hand in zip(found.stages, expected.stages, strict=True):
        for name in ("premise", "conclusion", "descent"):
            assert getattr(stage, name) == pytest.approx(getattr(by_hand, name))
        assert (stage.kl.mean, stage.kl.worst) == pytest.approx((by_hand.kl.mean, by_hand.kl.worst))
        assert stage.slack.mean == pytest.approx(by_hand.slack.mean)
    assert found.descent_everywhere == pytest.approx(expected.descent_everywhere)


def test_the_propositions_take_the_previous_belief_as_it_is_whatever_the_temperature_of_the_teacher() -> None:
    log_beliefs = torch.randn(3, 4, 3, generator=torch.Generator().manual_seed(0)).log_softmax(-1)
    samples = Samples(torch.zeros(4, 1, 2, 2, dtype=torch.uint8), LABELS)
    cold, warm = (
        certify(lambda _: log_beliefs, samples, LocalObjective(temperature=t), prepare=lambda x: x.float()) for t in (1.0, 2.0)
    )
    assert cold == warm


def test_float32_beliefs_that_do_not_change_hold_everywhere() -> None:
    belief = (30 * torch.randn(50, 10)).log_softmax(-1)
    nearly = (belief + 1e-6 * torch.rand(50, 1)).log_softmax(-1)
    numbers = measure(torch.stack([belief, nearly, belief]), torch.randint(10, (50,)), LocalObjective(label_smoothing=0.1))
    assert numbers["premise"].all()
    assert numbers["conclusion"].all()
    assert numbers["descent"].all()


def test_targets_are_smoothed_as_the_objective_says() -> None:
    log_beliefs, labels = torch.randn(2, 5, 4).log_softmax(-1), torch.randint(4, (5,))
    smoothed = 0.8 * torch.nn.functional.one_hot(labels, 4).double() + 0.05
    by_label = measure(log_beliefs, labels, LocalObjective(direction="reverse", label_smoothing=0.2))
    by_row = measure(log_beliefs, smoothed, LocalObjective(direction="reverse"))
    torch.testing.assert_close(by_label["kl"], by_row["kl"])
    with pytest.raises(TargetError, match="label_smoothing"):
        measure(log_beliefs, labels, LocalObjective(direction="reverse"))


def test_every_case_has_a_text_of_its_own() -> None:
    smoothed = LocalObjective(direction="reverse", label_smoothing=0.1)
    cases = [scope(smoothed), scope(LocalObjective()), scope(LocalObjective(label_smoothing=0.1))]
    assert all(a != b for a, b in combinations(cases, 2))
    assert len(set.intersection(*map(set, cases))) == 3  # what Propositions 2 and 4 leave open holds for all of them


def test_a_training_that_differs_from_what_is_measured_is_said_to() -> None:
    cascade = shared_cascade(nn.Flatten(), num_classes=3, depth=2, feature_dim=4)
    assert caveats(SID(cascade)) == ()
    found = [
        caveats(learner)
        for learner in (
            SID(cascade, temperature=2.0),
            SID(cascade, alpha="linear:1.0:0.5", alpha_over="epochs"),
            SID(cascade, alpha=[0.0, 0.5]),
            SID(cascade, teachers="last-epoch"),
            Backprop(cascade),
        )
    ]
    assert [len(each) for each in found] == [1] * 5
    assert len(set(found)) == 5
    assert caveats(DeepSupervision(cascade)) == found[-1]
