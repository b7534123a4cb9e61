"""A certificate on the screen."""

import pytest
import torch

from torchsid import LocalObjective
from torchsid.cli.certify_tables import show
from torchsid.cli.console import Console
from torchsid.study.certify.certificate import certificate
from torchsid.study.certify.samples import measure


def test_deep_cascades_are_shown_by_their_ends(capsys: pytest.CaptureFixture[str]) -> None:
    right = torch.tensor([[0.5 + 0.02 * stage] * 2 for stage in range(21)], dtype=torch.float64)
    log_beliefs, labels = torch.stack([right, 1 - right], dim=-1).log(), torch.tensor([0, 0])
    found = certificate(measure(log_beliefs, labels, LocalObjective()), labels, 2, LocalObjective())
    show(Console(), "test, n = 2", found, ["cat", "dog"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("test, n = 2")
    assert "premise  KL falls" in lines[0]
    assert [line.split(",")[0].split("  ")[0] for line in lines[1:7]] == [
        "stage 1",
        "stage 2",
        "stage 3",
        "…",
        "stage 19",
        "stage 20",
    ]
    assert lines[-1].startswith("- contraction")
