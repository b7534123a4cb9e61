"""What is claimed depends on what was minimised."""

from itertools import combinations

from torch import nn

from torchsid import SID, Backprop, LocalObjective, shared_cascade
from torchsid.learners.deep_supervision import DeepSupervision
from torchsid.study.certify.theory import caveats, scope


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
