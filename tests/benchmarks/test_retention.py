"""Which weights each method of benchmarks/retention.py trains, and that its table is made of what is recorded."""

import json
import runpy
from copy import deepcopy
from pathlib import Path

import pytest
import torch

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
SCRIPT = runpy.run_path(str(BENCHMARKS / "retention.py"))


@pytest.mark.parametrize("method", SCRIPT["METHODS"])
def test_only_backpropagation_brings_the_last_loss_below_the_cut(method: str) -> None:
    torch.manual_seed(0)
    net = SCRIPT["Halves"]()
    old, x = deepcopy(net), torch.randint(256, (2, 9))
    found = []
    for y in (x.roll(-1, 1), x):  # another target
        for name in ("head", "back"):
            getattr(net, name).zero_grad()
        net.model.zero_grad()
        SCRIPT["METHODS"][method](net, old, x, y)
        found.append(net.model.blocks[0].mlp.fc1.weight.grad)
    below, readout = found[0], net.model.readout.weight.grad
    assert readout is not None
    if method == "lower half frozen":
        assert below is None
    else:
        assert below.abs().sum() > 0
    if "LoPT" in method:  # reads no target
        torch.testing.assert_close(*found)
    assert all(parameter.grad is None for parameter in old.parameters())


def test_the_table_is_made_of_what_is_recorded() -> None:
    recorded = BENCHMARKS / "results" / "retention.json"
    assert SCRIPT["table"](json.loads(recorded.read_text())["runs"]) == recorded.with_suffix(".md").read_text()
