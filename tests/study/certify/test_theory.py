"""What is claimed depends on what was minimised."""

from torchsid import LocalObjective
from torchsid.study.certify.theory import scope


def test_the_papers_own_case_alone_is_called_the_papers() -> None:
    text = " ".join(scope(LocalObjective(direction="reverse", label_smoothing=0.1)))
    assert "apply as the paper states them" in text
    assert "say nothing of this run" not in text


def test_forward_claims_counterparts_and_no_more() -> None:
    one_hot = " ".join(scope(LocalObjective()))
    assert "say nothing of this run" in one_hot
    assert "infinite at every stage" in one_hot
    smoothed = " ".join(scope(LocalObjective(label_smoothing=0.1)))
    assert "infinite" not in smoothed
    assert "does not imply" in smoothed


def test_neither_promises_anything_of_held_out_labels() -> None:
    for objective in (LocalObjective(), LocalObjective(direction="reverse", label_smoothing=0.1)):
        assert "held-out" in " ".join(scope(objective))
