import json
from pathlib import Path

from tests.study.experiments.samples import experiment

from torchsid.study.experiments.budget import FILE, decide
from torchsid.study.experiments.grid import Cell
from torchsid.study.experiments.sizing import probes

ABOUT = experiment()


def test_a_decision_is_made_once(tmp_path: Path) -> None:
    calls = []

    def measure(seconds: float) -> dict[Cell, float]:
        calls.append(seconds)
        return dict.fromkeys(probes(ABOUT), seconds)

    first = decide(ABOUT, tmp_path, lambda: measure(1.0), minutes=40 / 60, workers=1)
    again = decide(ABOUT, tmp_path, lambda: measure(9.0), minutes=40 / 60, workers=1)
    assert first == again
    assert calls == [1.0]
    assert first.dropped


def test_another_request_decides_anew(tmp_path: Path) -> None:
    for minutes, workers in ((1.0, 1), (2.0, 1), (2.0, 2)):
        decide(ABOUT, tmp_path, lambda: dict.fromkeys(probes(ABOUT), 60.0), minutes=minutes, workers=workers)
        assert json.loads((tmp_path / FILE).read_text())["asked"]["minutes"] == minutes
    other = decide(experiment(seeds=[0]), tmp_path, lambda: dict.fromkeys(probes(ABOUT), 0.1), minutes=2.0, workers=2)
    assert other.grid.seeds == (0,)


def test_a_damaged_memory_is_forgotten(tmp_path: Path) -> None:
    (tmp_path / FILE).write_text("{")
    sized = decide(ABOUT, tmp_path, lambda: dict.fromkeys(probes(ABOUT), 0.01), minutes=5.0, workers=1)
    assert sized.dropped == ()
