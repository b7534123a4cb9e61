from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from torchsid.bench.contenders import BACKPROP
from torchsid.bench.recorder import PARTS
from torchsid.errors import ConfigError
from torchsid.study.experiments import costs
from torchsid.study.experiments.costs import Costs, Measured, Result, Shared, Staged, is_cost, load, points

SHARED = {"extractor": "mlp", "hidden": 8, "batch_size": 8, "image_size": 4}
CUT = {"model": "mlp", "blocks": 4, "width": 32, "batch_size": 8, "image_size": 4}
TIMING = Costs(
    kind="timing",
    name="t",
    question="Where?",
    rounds=2,
    shared=[Shared(**SHARED, depths=[2, 4])],
    staged=[Staged(**CUT, stages=[2, 4])],
)
MEMORY = Costs(
    kind="memory",
    name="m",
    question="What?",
    shared=[Shared(**SHARED, depths=[2, 4, 8], widths=[8, 16], depth=4)],
    staged=[Staged(**CUT, stages=[2, 4], windows=[1, 2, 4])],
)


def run(experiment: Costs, out: Path, minutes: float | None = None) -> tuple[Result, list[str]]:
    said: list[str] = []
    return costs.run(experiment, out, minutes=minutes, command="a command", say=said.append), said


def kept(result: Result, axis: str, method: str) -> dict[int, float]:
    """The kept bytes of a method along an axis."""
    return {row["value"]: row["median"] for row in select(result, "kept bytes", axis=axis, method=method)}


def select(result: Result, quantity: str, **fields: Any) -> Iterator[dict[str, Any]]:
    wanted = {"quantity": quantity, **fields}
    return (row for row in result.rows if wanted.items() <= row.items())


@pytest.fixture(scope="module")
def memory(tmp_path_factory: pytest.TempPathFactory) -> tuple[Result, Path]:
    out = tmp_path_factory.mktemp("memory")
    return run(MEMORY, out)[0], out


def test_streaming_is_constant_in_depth_and_the_reference_procedure_grows(memory: tuple[Result, Path]) -> None:
    for method in ("two_phase", "streaming", "batched", "plain"):
        assert len(set(kept(memory[0], "depth", method).values())) == 1
    for method in ("reference", BACKPROP):
        two, four, eight = kept(memory[0], "depth", method).values()
        assert eight - four == 2 * (four - two) > 0  # linear, from 2 over 4 to 8 stages


def test_wider_stages_and_windows_keep_more_and_more_stages_less(memory: tuple[Result, Path]) -> None:
    streaming, reference = kept(memory[0], "width", "streaming"), kept(memory[0], "width", "reference")
    assert streaming[16] - streaming[8] == 8 * (16 - 8) * 4  # of 8 images, one hidden layer more of one stage
    assert reference[16] - reference[8] == 4 * 8 * (16 - 8) * 4  # of all 4 stages
    stages, windows = kept(memory[0], "stages", "sid"), kept(memory[0], "window", "sid")
    assert stages[4] < stages[2] < kept(memory[0], "stages", BACKPROP)[2]
    assert stages[4] == windows[1] < windows[2] < windows[4]
    assert {row["median"] for row in select(memory[0], "kept over", method=BACKPROP)} == {1.0}


def test_what_is_measured_is_not_measured_again(memory: tuple[Result, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(costs, "build", lambda *asked: pytest.fail("measured again"))
    again, said = run(MEMORY, memory[1], minutes=1e-9)
    assert (again.rows, again.dropped) == (memory[0].rows, [])
    assert all(line.endswith("already there") for line in said)


def test_a_budget_leaves_out_the_largest_points_and_says_so(tmp_path: Path) -> None:
    result, _ = run(MEMORY, tmp_path, minutes=1e-9)
    assert set(kept(result, "depth", "streaming")) == {2, 4}
    assert result.dropped == ["depth 8 of mlp extractor", "window 4 of mlp, 4 blocks, width 32, 4 stages"]
    result, said = run(MEMORY, tmp_path)
    assert not result.dropped
    assert sum("already there" not in line for line in said) == 2


def test_times_have_their_quantities(tmp_path: Path) -> None:
    result, _ = run(TIMING, tmp_path)
    assert result.command == "a command"
    assert result.finished > "2026"
    for method, parts in (("two_phase", set(PARTS)), ("sid", set(PARTS[1:]))):
        of = {"method": method, "value": 4, "stages": 4}
        assert {row["of"] for row in select(result, "share", **of)} == parts
        (serial,) = select(result, "serial share", **of)
        bounds = {row["of"]: row for row in select(result, "bound", **of)}
        assert set(bounds) == {"2 workers", "4 workers"}
        assert bounds["4 workers"]["low"] <= 1 / (serial["median"] + (1 - serial["median"]) / 4) <= bounds["4 workers"]["high"]
    assert all(row["low"] <= row["median"] <= row["high"] and row["rounds"] == 2 for row in result.rows)
    assert {row["median"] for row in select(result, "over", method=BACKPROP, of=BACKPROP)} == {1.0}


def test_a_killed_experiment_measures_what_is_missing(tmp_path: Path) -> None:
    first, _ = run(TIMING, tmp_path)
    path = tmp_path / "measured.jsonl"
    path.write_text(path.read_text()[:-20] + "\n[1]\n")
    second, said = run(TIMING, tmp_path)
    assert [line.endswith("already there") for line in said] == [True, True, False]
    missing = list(points(TIMING))[1]
    assert [row for row in second.rows if row["value"] == 2] == [row for row in first.rows if row["value"] == 2]
    assert said[2].startswith(missing.network)
    assert len(path.read_text().splitlines()) == 3


def test_findings_belong_to_a_question_and_a_machine(tmp_path: Path) -> None:
    path = tmp_path / "out" / "measured.jsonl"
    measured = Measured(path, {"cpu": "a"})
    assert measured.find({"depth": 2}) is None
    assert not path.parent.exists()
    assert measured.add({"depth": 2, "stages": (1, 2)}, {"kept": 1}) == {"kept": 1}
    assert Measured(path, {"cpu": "a"}).find({"depth": 2, "stages": [1, 2]}) == {"kept": 1}
    assert Measured(path, {"cpu": "b"}).find({"depth": 2, "stages": [1, 2]}) is None


@pytest.mark.parametrize("name", ["timing", "memory"])
def test_the_shipped_ones(name: str) -> None:
    found = load(name)
    assert is_cost(name)
    assert (found.kind, found.name, found.size) == (name, name, "small")
    assert found.question.endswith("?")
    assert {point.axis for point in points(found)} == {"depth", "stages"} | ({"width", "window"} if name == "memory" else set())


MINE = """
kind = "timing"
question = "Where?"
rounds = 3

[[shared]]
extractor = "mlp"
depths = [2, 4]

[[staged]]
model = "mlp"
blocks = 4
stages = [2, 4]
"""


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('kind = "timing"', 'kind = "timming"', "timming"),
        ("rounds = 3", "ruonds = 3", "ruonds"),
        ("depths = [2, 4]", "depths = [4, 2]", r"shared\.0\.depths = \[4, 2\]: give each number once, in ascending order"),
        ("stages = [2, 4]", "stages = [1]", r"staged\.0\.stages\.0 = 1"),
        ("stages = [2, 4]", "stages = [2]\nwindows = [1]", r"staged\.0\.windows = \[1\]: only kind = 'memory'"),
        (MINE[MINE.index("[[shared]]") :], "", "nothing to measure"),
    ],
)
def test_what_is_wrong_in_a_file_is_named(old: str, new: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(MINE.replace(old, new, 1))
    with pytest.raises(ConfigError, match=message):
        load(str(path))


def test_networks_that_cannot_be_had_stop_it_before_it_starts(tmp_path: Path) -> None:
    wrong = replace(MEMORY, shared=[Shared(extractor="mpl", depths=[2])], staged=[Staged(**CUT, stages=[2, 400])])
    with pytest.raises(ConfigError, match="400 stages") as error:
        run(wrong, tmp_path / "out")
    assert "'mlp'" in str(error.value)
    assert not (tmp_path / "out").exists()
