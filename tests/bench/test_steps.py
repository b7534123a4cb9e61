from typing import Any

import pytest

from torchsid.bench import steps
from torchsid.bench.contenders import BACKPROP, CHECKPOINTING, Contender, Entry, build
from torchsid.bench.steps import bench_steps
from torchsid.bench.workload import Workload

MLP = Workload(model="mlp", stages=(2, 4), width=32, batch_size=8, image_size=4)


@pytest.fixture(scope="module")
def rows() -> dict[str, dict[str, Any]]:
    result = bench_steps([MLP], rounds=2, progress=lambda _: None)
    assert result["settings"]["rounds"] == 2
    assert result["provenance"]["hardware"]
    return {row["contender"]: row for row in result["rows"]}


def test_every_contender_has_a_row(rows: dict[str, dict[str, Any]]) -> None:
    assert list(rows) == [BACKPROP, CHECKPOINTING, "accumulation", "deep supervision", "sid-2", "sid-4"]
    assert all(row["note"] == "" for row in rows.values())


def test_a_contender_is_as_fast_as_itself_and_numbers_agree(rows: dict[str, dict[str, Any]]) -> None:
    assert rows[BACKPROP]["step_over_backprop"] == rows[CHECKPOINTING]["step_over_checkpointing"] == 1
    for row in rows.values():
        low, high = row["step_quartiles_ms"]
        assert low <= row["step_ms"] <= high
        assert row["images_per_second"] == pytest.approx(8000 / row["step_ms"])


def test_kept_bytes_come_with_the_times(rows: dict[str, dict[str, Any]]) -> None:
    assert rows["sid-4"]["kept_bytes"] == build(MLP, Entry("sid", 4)).kept_bytes()
    assert rows["sid-4"]["kept_over_backprop"] == rows["sid-4"]["kept_bytes"] / rows[BACKPROP]["kept_bytes"]
    assert rows[BACKPROP]["head_parameters"] == 0 < rows["sid-4"]["head_parameters"]


def test_what_cannot_be_compiled_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def without_compiler(workload: Workload, entry: Entry) -> Contender:
        if entry.method == "sid":
            raise RuntimeError("no compiler")
        return build(MLP, entry)

    monkeypatch.setattr(steps, "build", without_compiler)
    compiled = Workload(model="mlp", stages=(2,), variant="compiled")
    rows = {row["contender"]: row for row in bench_steps([compiled], rounds=2, progress=lambda _: None)["rows"]}
    assert rows["sid-2"]["note"] == "fails when compiled: no compiler"
    assert rows["sid-2"]["step_ms"] is None
    assert rows[BACKPROP]["step_over_backprop"] == 1


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.filterwarnings("default")
def test_a_compiled_cascade_takes_the_same_step() -> None:
    eager, compiled = (
        build(Workload(model="mlp", stages=(2,), width=8, batch_size=8, image_size=4, variant=variant), Entry("sid", 2))
        for variant in ("float32", "compiled")
    )
    eager.step()
    compiled.step()
    for one, other in zip(eager.module.parameters(), compiled.module.parameters(), strict=True):
        assert other.detach().numpy() == pytest.approx(one.detach().numpy(), abs=1e-5)
