from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tests.study.experiments.costs.samples import MEMORY, TIMING

from torchsid.errors import ConfigError
from torchsid.study.experiments.costs import run


def test_a_budget_that_takes_rounds_away_is_said(tmp_path: Path) -> None:
    result = run(replace(TIMING, rounds=9, staged=[]), tmp_path, minutes=1e-6, command="a command", say=lambda line: None)
    assert {row.rounds for row in result.timing} == {2}
    assert result.dropped == ("7 of 9 rounds of mlp extractor, L = 2",)
    assert result.command == "a command"
    assert result.finished


def test_threads_are_those_of_the_plan_and_only_meanwhile(tmp_path: Path) -> None:
    before = torch.get_num_threads()
    small = [replace(MEMORY.shared[0], depths=[2], widths=[])]
    result = run(replace(MEMORY, threads=2, shared=small, staged=[]), tmp_path, say=lambda line: None)
    assert result.provenance["hardware"]["threads"] == 2
    assert torch.get_num_threads() == before


def test_a_network_that_cannot_be_cut_stops_it_before_it_starts(tmp_path: Path) -> None:
    cut = replace(MEMORY.staged[0], stages=[2, 400])
    with pytest.raises(ConfigError, match="400 stages"):
        run(replace(MEMORY, staged=[cut]), tmp_path / "out", say=lambda line: None)
    assert not (tmp_path / "out").exists()
