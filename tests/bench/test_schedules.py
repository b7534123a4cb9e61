import pytest

from torchsid.bench.schedules import BACKPROP, REFERENCE, bench_schedules
from torchsid.core import schedules


@pytest.fixture(scope="module")
def rows() -> list[dict[str, object]]:
    return bench_schedules([2, 9], rounds=2, batch_size=4, progress=lambda _: None)["rows"]


def test_every_procedure_has_a_row_at_every_depth(rows: list[dict[str, object]]) -> None:
    procedures = {REFERENCE, BACKPROP, *schedules.names()}
    assert {(row["depth"], row["procedure"]) for row in rows} == {(depth, name) for depth in (2, 9) for name in procedures}
    assert len(rows) == 2 * len(procedures)


def test_a_procedure_is_as_fast_as_itself_and_a_step_holds_its_gradients(rows: list[dict[str, object]]) -> None:
    for row in rows:
        if row["procedure"] == REFERENCE:
            assert row["gradients_over_reference"] == row["step_over_reference"] == 1.0
        if row["procedure"] == BACKPROP:
            assert row["gradients_over_backprop"] == row["step_over_backprop"] == 1.0
        low, high = row["gradients_quartiles_ms"]
        assert low <= row["gradients_ms"] <= high
        assert row["gradients_ms"] < row["step_ms"]


def test_streaming_keeps_the_same_at_every_depth_and_the_reference_procedure_does_not(rows: list[dict[str, object]]) -> None:
    kept = {(row["procedure"], row["depth"]): row["kept_bytes"] for row in rows}
    assert kept["streaming", 9] == kept["streaming", 2]
    assert kept[REFERENCE, 9] > 2 * kept[REFERENCE, 2]
