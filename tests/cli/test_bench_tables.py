from torchsid.bench.contenders import Entry
from torchsid.bench.rows import MemoryRow, StepRow, identity
from torchsid.bench.workload import Workload
from torchsid.cli.bench_tables import MEMORY, MISSING, STEPS, title

ABOUT = identity(Workload(model="mlp", stages=(2,), blocks=2, variant="bfloat16"), Entry("sid", 2))


def test_a_cell_for_every_column() -> None:
    row = vars(
        StepRow(
            **ABOUT,
            kept_bytes=3 * 2**20,
            kept_over_backprop=0.5,
            head_parameters=12345,
            head_share=0.012,
            step_ms=12.25,
            step_quartiles_ms=(12, 13),
            step_over_backprop=0.987,
            step_over_checkpointing=0.7,
            images_per_second=1234.0,
        )
    )
    assert dict(zip(STEPS.columns[:8], STEPS.cells(row), strict=False)) == {
        "model": "mlp, 2 blocks, bfloat16",
        "contender": "sid-2",
        "step": "12.25 ms",
        "quartiles": "12.00–13.00",
        "to backprop": "0.99",
        "to checkpointing": "0.70",
        "images/s": "1,234",
        "kept": "3.00 MiB",
    }
    assert STEPS.cells(row)[8:] == ["0.50", "12,345", "1.2 %"]
    assert title(row) == "mlp, 2 blocks, bfloat16, sid-2"


def test_what_was_not_measured_is_a_dash() -> None:
    for table, row in ((STEPS, StepRow(**ABOUT, note="why")), (MEMORY, MemoryRow(**ABOUT, note="why"))):
        cells = table.cells(vars(row))
        assert len(cells) == len(table.columns)
        assert set(cells[2:]) == {MISSING}
