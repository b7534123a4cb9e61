import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pyarrow import parquet
from tests.show.parsed import parsed

from torchsid.bench.recorder import PARTS
from torchsid.bench.workload import BACKPROP
from torchsid.errors import ConfigError
from torchsid.study.experiments import costs, costs_page
from torchsid.study.experiments.costs import Costs, Shared, Staged, is_cost, load, points

Found = dict[str, Any]

SHARED = {"extractor": "mlp", "hidden": 8, "batch_size": 8, "image_size": 4}
CUT = {"model": "mlp", "blocks": 4, "width": 32, "batch_size": 8, "image_size": 4}
TIMING = Costs(
    kind="timing",
    name="t",
    question="Where?",
    claim="Somebody says so.",
    rounds=2,
    shared=[Shared(**SHARED, depths=[2, 4])],
    staged=[Staged(**CUT, stages=[2, 4])],
)
MEMORY = Costs(
    kind="memory",
    name="m",
    question="Where?",
    claim="Somebody says so.",
    shared=[Shared(**SHARED, depths=[2, 4, 8], widths=[8, 16], depth=4)],
    staged=[Staged(**CUT, stages=[2, 4], windows=[1, 2, 4])],
)


def run(experiment: Costs, out: Path, minutes: float | None = None) -> tuple[Found, list[str]]:
    said: list[str] = []
    return costs.run(experiment, out, minutes=minutes, command="a command", say=said.append), said


def kept(result: Found, axis: str, method: str) -> dict[int, float]:
    """The kept bytes of a method along an axis."""
    return {row["value"]: row["median"] for row in select(result, "kept bytes", axis=axis, method=method)}


def select(result: Found, quantity: str, **fields: Any) -> Iterator[Found]:
    wanted = {"quantity": quantity, **fields}
    return (row for row in result["rows"] if wanted.items() <= row.items())


@pytest.fixture(scope="module")
def memory(tmp_path_factory: pytest.TempPathFactory) -> tuple[Found, Path]:
    out = tmp_path_factory.mktemp("memory")
    return run(MEMORY, out)[0], out


@pytest.fixture(scope="module")
def timing(tmp_path_factory: pytest.TempPathFactory) -> tuple[Found, Path]:
    out = tmp_path_factory.mktemp("timing")
    return run(TIMING, out)[0], out


def test_streaming_is_constant_in_depth_and_the_reference_procedure_grows(memory: tuple[Found, Path]) -> None:
    for method in ("two_phase", "streaming", "batched", "plain"):
        assert len(set(kept(memory[0], "depth", method).values())) == 1
    for method in ("reference", BACKPROP):
        two, four, eight = kept(memory[0], "depth", method).values()
        assert eight - four == 2 * (four - two) > 0  # linear, from 2 over 4 to 8 stages


def test_wider_stages_and_windows_keep_more_and_more_stages_less(memory: tuple[Found, Path]) -> None:
    streaming, reference = kept(memory[0], "width", "streaming"), kept(memory[0], "width", "reference")
    assert streaming[16] - streaming[8] == 8 * (16 - 8) * 4  # of 8 images, one hidden layer more of one stage
    assert reference[16] - reference[8] == 4 * 8 * (16 - 8) * 4  # of all 4 stages
    stages, windows = kept(memory[0], "stages", "sid"), kept(memory[0], "window", "sid")
    assert stages[4] < stages[2] < kept(memory[0], "stages", BACKPROP)[2]
    assert stages[4] == windows[1] < windows[2] < windows[4]
    assert {row["median"] for row in select(memory[0], "kept over", method=BACKPROP)} == {1.0}


def test_a_budget_leaves_out_the_largest_points_and_the_same_again_measures_these_alone(tmp_path: Path) -> None:
    result, _ = run(MEMORY, tmp_path, minutes=1e-9)
    assert set(kept(result, "depth", "streaming")) == {2, 4}
    assert result["ran"]["dropped"] == ["depth 8 of mlp extractor", "window 4 of mlp, 4 blocks, width 32, 4 stages"]
    assert costs_page.notes(result)[0].endswith("left out depth 8 of mlp extractor, window 4 of mlp, 4 blocks, width 32, 4 stages.")
    result, said = run(MEMORY, tmp_path)
    assert not result["ran"]["dropped"]
    assert sum("already there" not in line for line in said) == 2


def test_times_have_their_quantities(timing: tuple[Found, Path]) -> None:
    result, _ = timing
    assert result["finished"] > "2026"
    for method, parts in (("two_phase", set(PARTS)), ("sid", set(PARTS[1:]))):
        of = {"method": method, "value": 4, "stages": 4}
        assert {row["of"] for row in select(result, "share", **of)} == parts
        (serial,) = select(result, "serial share", **of)
        bounds = {row["of"]: row for row in select(result, "bound", **of)}
        assert set(bounds) == {"2 workers", "4 workers"}
        assert bounds["4 workers"]["low"] <= 1 / (serial["median"] + (1 - serial["median"]) / 4) <= bounds["4 workers"]["high"]
    assert all(row["low"] <= row["median"] <= row["high"] and row["rounds"] == 2 for row in result["rows"])
    assert {row["median"] for row in select(result, "over", method=BACKPROP, of=BACKPROP)} == {1.0}


@pytest.mark.parametrize(
    ("kind", "axes", "figures"), [("timing", ["depth", "stages"], 1 + 2 + 2), ("memory", ["depth", "width", "stages", "window"], 4)]
)
def test_rows_summary_figures_and_page_are_written(
    kind: str, axes: list[str], figures: int, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    result, _ = request.getfixturevalue(kind)
    files = costs_page.write(result, tmp_path / "out")
    assert len(list((tmp_path / "out").glob("*.svg"))) == figures
    found = json.loads(files["summary"].read_text())
    assert (found["experiment"]["question"], found["experiment"]["size"], found["command"]) == ("Where?", "small", "a command")
    assert found["rows"] == result["rows"]
    assert parquet.read_table(files["rows"]).num_rows == len(result["rows"])
    page = parsed(files["report"].read_text())
    assert page.sections == [*axes, "repeat"]
    assert all(words in page.words for words in ("Where?", "Somebody says so.", "a command"))
    assert [table.caption for table in costs_page.tables(result)] == axes


def test_a_killed_experiment_measures_what_is_missing_and_another_machine_all(
    timing: tuple[Found, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, out = timing
    path, lines = tmp_path / "measured.jsonl", (out / "measured.jsonl").read_text()
    rounds = [json.loads(line)["found"]["rounds"] for line in lines.splitlines()]
    monkeypatch.setattr(costs, "take_rounds", lambda made, _: next(each for each in rounds[::-1] if each.keys() == made.keys()))
    path.write_text("".join(lines.splitlines(keepends=True)[:-1]))
    again, said = run(TIMING, tmp_path)
    assert [line.endswith("already there") for line in said] == [True, True, False]
    assert again["rows"] == first["rows"]
    assert path.read_text().count("\n") == 3
    monkeypatch.setattr(costs, "provenance", lambda: {**first, "hardware": {"cpu": "of another machine"}})
    assert not any("already there" in line for line in run(TIMING, tmp_path)[1])


@pytest.mark.parametrize("name", ["timing", "memory"])
def test_the_shipped_ones(name: str) -> None:
    found = load(name)
    assert is_cost(name)
    assert (found.kind, found.name, found.size) == (name, name, "small")
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
