from pathlib import Path

import pytest
from tests.study.experiments.costs.samples import MEMORY

from torchsid.study.experiments.costs import memory
from torchsid.study.experiments.costs.measured import Measured
from torchsid.study.experiments.costs.memory import WINDOW
from torchsid.study.experiments.costs.memory_findings import curves
from torchsid.study.experiments.costs.result import MemoryRow
from torchsid.study.experiments.costs.shared import BATCHED, CHAIN, PLAIN, REFERENCE, STREAMING, TWO_PHASE
from torchsid.study.experiments.costs.staged import BP, CHECKPOINTED, SID

Folder = tuple[list[MemoryRow], Path]


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    out = tmp_path_factory.mktemp("memory")
    rows, dropped = memory.measure(MEMORY, Measured(out, {}), None, lambda line: None)
    assert not dropped
    return rows, out


def test_streaming_is_constant_in_depth_and_the_reference_procedure_grows(measured: Folder) -> None:
    (lines,) = curves(measured[0], "depth").values()
    for name in (TWO_PHASE, STREAMING, BATCHED, PLAIN):
        assert len(set(lines[name].values())) == 1
    for name in (REFERENCE, CHAIN):
        grown = list(lines[name].values())
        assert grown[2] - grown[1] == 2 * (grown[1] - grown[0]) > 0  # linear, from 2 over 4 to 8 stages


def test_a_wider_stage_keeps_more(measured: Folder) -> None:
    (lines,) = curves(measured[0], "width").values()
    assert lines[STREAMING][16] - lines[STREAMING][8] == 8 * (16 - 8) * 4  # of 8 images, one hidden layer more of one stage
    assert lines[REFERENCE][16] - lines[REFERENCE][8] == 4 * 8 * (16 - 8) * 4  # of all 4 stages


def test_more_stages_keep_less_and_wider_windows_more(measured: Folder) -> None:
    (stages,) = curves(measured[0], "stages").values()
    assert set(stages) == {SID, BP, CHECKPOINTED}
    assert stages[SID][4] < stages[SID][2] < stages[BP][2] == stages[BP][4]
    (windows,) = curves(measured[0], "window").values()
    assert windows[WINDOW][1] == stages[SID][4]
    assert windows[WINDOW][1] < windows[WINDOW][2] < windows[WINDOW][4]


def test_every_row_is_over_the_right_backpropagation(measured: Folder) -> None:
    assert all(row.over_backprop == 1 for row in measured[0] if row.contender in (CHAIN, BP))


def test_what_is_measured_is_not_measured_again(measured: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    rows, out = measured
    monkeypatch.setattr(memory, "count", lambda point: pytest.fail("measured again"))
    said: list[str] = []
    assert memory.measure(MEMORY, Measured(out, {}), 1e-9, said.append) == (rows, [])
    assert all(line.endswith("already there") for line in said)


def test_a_budget_leaves_out_the_largest_points_and_says_so(tmp_path: Path) -> None:
    rows, dropped = memory.measure(MEMORY, Measured(tmp_path, {}), 1e-9, lambda line: None)
    assert {row.value for row in rows if row.axis == "depth"} == {2, 4}
    assert dropped == ["depth 8 of mlp extractor", "window 4 of mlp, 4 blocks, width 32, 4 stages"]
    rows, dropped = memory.measure(MEMORY, Measured(tmp_path, {}), None, lambda line: None)
    assert {row.value for row in rows if row.axis == "depth"} == {2, 4, 8}
    assert not dropped
